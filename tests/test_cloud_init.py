"""deploy/cloud-init.yaml, by cloud-init's own check; its script is only parsed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

FILE = Path(__file__).resolve().parent.parent / "deploy" / "cloud-init.yaml"


def checked(path: Path) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("cloud-init")
    if program is None:
        pytest.skip("needs cloud-init: `sh setup.sh test` installs it")
    return subprocess.run([program, "schema", "-c", path], capture_output=True, text=True)


@pytest.mark.slow
def test_cloud_init_takes_the_file_and_no_wrong_one(tmp_path: Path) -> None:
    assert checked(FILE).returncode == 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(FILE.read_text().replace("runcmd:\n", "runcmd: 7\nrest:\n"))
    assert checked(wrong).returncode != 0


def test_its_script_is_one() -> None:
    (script,) = [
        one["content"]
        for one in yaml.safe_load(FILE.read_text())["write_files"]
        if one["path"].endswith("set-up")
    ]
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0
    # Nothing of that name is taken from an index because a line was not edited.
    source = script[script.index("source=") : script.index("cd /srv")]
    assert subprocess.run(["sh"], input=source, text=True, capture_output=True).returncode == 1


@pytest.mark.slow
def test_its_luigi_cfg_is_taken(tmp_path: Path) -> None:
    """As its script takes it; whatever luigi.cfg is wrong about, the command refuses in words."""
    written = yaml.safe_load(FILE.read_text())["write_files"]
    (settings,) = [one["content"] for one in written if one["path"].endswith("luigi.cfg")]
    (tmp_path / "luigi.cfg").write_text(settings)
    command = [sys.executable, "-m", "greenr_luigi.cli", "nginx"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    assert "location /app/ {" in told.stdout and "server_name example.org;" in told.stdout
