"""A package of somebody else's with a stage on top of `tasks`, as docs/extending.md shows it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi.staleness.stamp import Stamp
from tests.pipeline import STAGES, Pipeline, copy_of_ready

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).with_name("phone_pack")
BEFORE = STAGES[: STAGES.index("DeployApp")]


def with_package(pipeline: Pipeline) -> Pipeline:
    shutil.copytree(PACKAGE, pipeline.code / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return pipeline


def status(pipeline: Pipeline, *arguments: str) -> dict[str, str | None]:
    """Cause by stage."""
    told = pipeline.greenr("status", "--json", "--module", PACKAGE.name, *arguments)
    assert told.returncode == 0, told.stderr
    return {row["stage"]: row["cause"] for row in json.loads(told.stdout)}


def run(pipeline: Pipeline, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "luigi", "--module", PACKAGE.name, "PackForPhone", "--local-scheduler"]
    return subprocess.run(
        [*command, "--root", str(pipeline.root), *options],
        cwd=pipeline.home,
        env=pipeline.environment,
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_it_runs_after_the_export_and_is_seen_by_every_command(ready, tmp_path):
    pipeline = with_package(copy_of_ready(ready, tmp_path))
    options = pipeline.parameters("ExportModel")
    assert status(pipeline, "PackForPhone", *options) == {
        **dict.fromkeys(BEFORE, None),
        "PackForPhone": "no output yet",
    }
    first = run(pipeline, *options)
    assert first.returncode == 0, first.stderr
    assert re.findall(r"INFO: (.*) runs: ", first.stderr) == ["PackForPhone"]
    pack = pipeline.newest_output("PackForPhone")
    assert (pack / "classifier.txt").read_text().split() == ["dandelion", "grass"]
    assert (pack / "classifier.onnx").stat().st_size > 1e6
    assert set(Stamp.read(pack).inputs) == {"ExportModel"}
    assert not any(status(pipeline, "PackForPhone", *options).values())
    rows = json.loads(pipeline.greenr("usage", "--json", "--module", PACKAGE.name).stdout)
    assert [row["stage"] for row in rows].count("PackForPhone") == 1
    # What serves was not made from it.
    removed = pipeline.greenr("prune", "--keep", "0", "--dry-run", "--module", PACKAGE.name).stdout
    assert re.search(r"would remove .* PackForPhone/", removed)
    said = pipeline.greenr(
        "reject", "--module", PACKAGE.name, str(next((pack / "..").resolve().glob("*/*.txt")))
    )
    assert f"the next run takes it in: luigi --module {PACKAGE.name} DeployApp " in said.stdout


def test_defaults_are_those_of_the_package_below_a_persons_own(tmp_path):
    pipeline = with_package(Pipeline(tmp_path))
    assert list(status(pipeline, "PackForPhone")) == [*BEFORE, "PackForPhone"]
    assert list(status(pipeline)) == STAGES
    script = f"from {PACKAGE.name} import PackForPhone\nt = PackForPhone(); print(t.app, t.epochs, t.requires().epochs)"

    def defaults() -> list[str]:
        told = subprocess.run(
            [sys.executable, "-c", script],
            cwd=pipeline.home,
            env=pipeline.environment,
            text=True,
            capture_output=True,
        )
        return told.stdout.split()

    assert defaults() == ["classifier", "12", "12"]
    (pipeline.home / "luigi.cfg").write_text("[TrainModel]\nepochs = 5\n[PackForPhone]\napp = plants\n")
    assert defaults() == ["plants", "5", "5"]


#: By what is typed behind `greenr status --module phone_pack`.
REFUSED = {
    "PackForPhon": "PackForPhon is no stage: did you mean PackForPhone?",
    "PackForPhone --aps x": "--aps is no parameter of PackForPhone: did you mean --app?",
    "PackForPhone --epohcs 3": "--epohcs is no parameter of PackForPhone: did you mean --epochs?",
}


def test_what_cannot_be_meant_is_refused(tmp_path):
    pipeline = with_package(Pipeline(tmp_path))
    script = (
        "import sys\nfrom greenr_luigi import cli\n"
        f"for words in sys.argv[1:]: assert cli.main(['status', '--module', {PACKAGE.name!r}, *words.split()]) == 1"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, *REFUSED],
        cwd=pipeline.home,
        env=pipeline.environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert told.stderr.splitlines() == [f"greenr: {words}" for words in REFUSED.values()]
