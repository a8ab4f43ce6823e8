"""What a wheel holds: the pipeline runs from it in any folder, page and default configuration included."""

import functools
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests import tiny_release
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


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python that finds the libraries of this environment, and not the project, even if that is installed here."""
    environment = tmp_path_factory.mktemp("bare")
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    # A folder that a .pth file adds has its own .pth files passed over, and so an editable install.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "python"


@pytest.mark.slow
def test_static_templates_and_configuration_travel(installed):
    for folder in ("static", "templates"):
        there = {path.name: path.read_bytes() for path in (installed / "greenr_luigi" / folder).iterdir()}
        assert there == {
            path.name: path.read_bytes() for path in (REPOSITORY / folder).iterdir() if path.is_file()
        }
    assert (installed / "greenr_luigi" / "luigi.cfg").read_bytes() == (REPOSITORY / "luigi.cfg").read_bytes()


@pytest.mark.slow
def test_every_package_is_in_it_and_each_module_that_needs_nothing_heavy_imports(
    installed, bare_python, tmp_path
):
    """Heavy: what takes seconds to import, or is not there in a process that serves."""
    for package in ("greenr_luigi", "tasks"):
        ours = {path.relative_to(REPOSITORY) for path in (REPOSITORY / package).rglob("*.py")}
        assert ours and {path for path in ours if not (installed / path).is_file()} == set()
    names = [
        ".".join(path.relative_to(installed).with_suffix("").parts).removesuffix(".__init__")
        for package in (
            "web",
            "serving",
            "pictures",
            "sources",
            "staleness",
            "operations",
            "review",
            "deployment",
        )
        for path in sorted((installed / "greenr_luigi" / package).rglob("*.py"))
        if path.name != "gunicorn_conf.py"  # Run by gunicorn alone.
    ]
    code = (
        f"import importlib, sys\nsys.path.insert(0, {str(installed)!r})\n"
        f"modules = [importlib.import_module(name) for name in {names}]\n"
        f"assert all(module.__file__.startswith({str(installed)!r}) for module in modules)\n"
        "assert not {'torch', 'fastai', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([bare_python, "-c", code], cwd=tmp_path, check=True)


SCORE = """
import base64, json, pathlib, sys, warnings
warnings.simplefilter("ignore")
import mlflow, pandas
pictures = [base64.b64encode(pathlib.Path(file).read_bytes()).decode() for file in sys.argv[2:]]
answers = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame({"picture": pictures}))
import greenr_luigi
print(json.dumps([greenr_luigi.__file__, answers["label"].tolist()]))
"""


@pytest.mark.slow
def test_the_mlflow_model_answers_where_the_project_is_not(installed, bare_python, tmp_path):
    """Written from the wheel, loaded in an environment and a folder that know nothing of the project."""
    release, model = tiny_release.export(tmp_path / "release"), tmp_path / "model"
    write = (
        f"import sys, pathlib; sys.path.insert(0, {str(installed)!r})\n"
        "from greenr_luigi.export import tracking\n"
        f"assert tracking.__file__.startswith({str(installed)!r})\n"
        "tracking.write_model(*map(pathlib.Path, sys.argv[1:]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    run = functools.partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    written = run([bare_python, "-c", write, release, model])
    assert written.returncode == 0, written.stderr
    assert run([bare_python, "-c", "import greenr_luigi"]).returncode == 1
    colours = ("yellow", tiny_release.STRANGE, "green")
    for colour in colours:
        (tmp_path / f"{colour}.jpg").write_bytes(tiny_release.picture(colour))
    scored = run([bare_python, "-c", SCORE, model, *(f"{colour}.jpg" for colour in colours)])
    assert scored.returncode == 0, scored.stderr
    file, labels = json.loads(scored.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(model) and labels == ["dandelion", "", "grass"]


@pytest.mark.slow
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
