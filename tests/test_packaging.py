"""What a wheel holds: the pipeline runs from it in any folder, page and default configuration included."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.pipeline import REPOSITORY


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built from a copy of the repository and unpacked: what `pip install .` puts into site-packages."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    subprocess.run(
        ["cp", "-a", "--parents", *[name for name in files if name and os.path.lexists(REPOSITORY / name)], source],
        cwd=REPOSITORY, check=True,
    )  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    site = tmp_path_factory.mktemp("site packages")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_static_templates_and_configuration_travel(installed):
    for folder in ("static", "templates"):
        there = {path.name: path.read_bytes() for path in (installed / "greenr_luigi" / folder).iterdir()}
        assert there == {
            path.name: path.read_bytes() for path in (REPOSITORY / folder).iterdir() if path.is_file()
        }
    assert (installed / "greenr_luigi" / "luigi.cfg").read_bytes() == (REPOSITORY / "luigi.cfg").read_bytes()


def test_it_runs_from_any_folder(installed, tmp_path):
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "SplitDataset", "--local-scheduler"]
    command += ["--source", "sample", "--limit", "20"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "SplitDataset runs: no output yet" in run.stderr
    assert (tmp_path / "data" / "SplitDataset").is_dir()


def test_no_photograph_and_no_data_is_tracked():
    files = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert not [
        name
        for name in files
        if name.endswith((".jpg", ".jpeg", ".onnx", ".pkl")) or name.startswith("data/")
    ]
