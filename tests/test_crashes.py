"""Runs that are killed, starved of disk, or two at a time: nothing half-done survives, and no work is lost or doubled.

GREENR_KILLS sets how many runs are killed: 7 by default, one a stage; 100 and more when the mechanism changes.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request

import pytest

from greenr_luigi.operations.status import build
from greenr_luigi.serving import rollout
from greenr_luigi.stage import StageError
from greenr_luigi.staleness import traces
from tests.pipeline import STAGES, after, check_outputs, luigid, pipeline_of_drawings

KILLS = int(os.environ.get("GREENR_KILLS", len(STAGES)))
pytestmark = pytest.mark.slow


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline that has not run yet."""
    pipeline = pipeline_of_drawings(tmp_path)
    yield pipeline
    pipeline.stop()


def digests(pipeline):
    return {
        stage: json.loads((pipeline.newest_output(stage) / "stamp.json").read_text())["digest"]
        for stage in STAGES[:-1]
    }


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment(deployed, number):
    stage = STAGES[number % len(STAGES)]
    undisturbed = digests(deployed)
    serving = rollout.current(deployed.root / "releases")
    chance = random.Random(20 + number)
    output = deployed.newest_output(stage)
    if number // len(STAGES) % 2 == 0:
        files = [path for path in sorted(output.rglob("*")) if path.is_file() and path.name != "stamp.json"]
        files[0].unlink()
    else:
        output.unlink()
    process = deployed.start()
    assert process.stdout is not None
    for line in process.stdout:
        if f"{stage} runs:" in line:
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=chance.choice([0.05, 0.3, 1, 4]) * chance.random())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    check_outputs(deployed)
    assert rollout.current(deployed.root / "releases") == serving
    run = deployed.run()
    assert run.status == 0, run.output
    # None, if it was done before it was killed.
    assert list(run.ran) in ([stage], [])
    check_outputs(deployed)
    assert digests(deployed) == undisturbed
    assert rollout.current(deployed.root / "releases") == serving
    assert deployed.greenr("prune", "--keep", "9").returncode == 0
    hidden = {path for path in deployed.root.glob("*/.*") if path.is_dir()}
    outputs = {stamp.parent.resolve() for stamp in deployed.root.glob("*/*/stamp.json")}
    assert hidden == outputs


def test_two_runs_at_once(deployed):
    """Every stage that takes a second or less has to be run."""
    stale = [*STAGES[:3], STAGES[-1]]
    for output in {deployed.newest_output(stage) for stage in stale}:
        output.unlink()
    processes = [deployed.start(), deployed.start()]
    runs = [deployed.finish(process) for process in processes]
    assert [run.status for run in runs] == [0, 0], runs
    assert sorted([*runs[0].ran, *runs[1].ran]) == sorted(stale)
    assert re.search(r"waits for another run of \w+: process \d+ on ", runs[0].output + runs[1].output)
    check_outputs(deployed)
    assert deployed.run().ran == {}


def test_two_runs_at_once_under_luigid(pipeline):
    state = pipeline.home / "luigid.state"
    with (
        (pipeline.home / "luigid.log").open("w") as log,
        luigid(pipeline.home, state, log, env=pipeline.environment) as port,
    ):
        how = {"stage": "SplitDataset", "scheduler": f"--scheduler-host 127.0.0.1 --scheduler-port {port}"}
        processes = [pipeline.start(**how), pipeline.start(**how)]
        runs = [pipeline.finish(process) for process in processes]
        assert {run.status for run in runs} <= {0, 10, 25}, [run.output for run in runs]
        assert sorted([*runs[0].ran, *runs[1].ran]) == sorted(set(STAGES) - set(after("SplitDataset"))), [
            run.output for run in runs
        ]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/task_list", timeout=5) as answer:
            tasks = json.load(answer)["response"]
        assert {task["status"] for task in tasks.values()} == {"DONE"}
        for run in runs:
            assert run.status == 0 or re.search("another worker|not granted run permission", run.output), (
                run.output
            )
        for task in tasks:
            asked = urllib.parse.quote(json.dumps({"task_id": task}))
            url = f"http://127.0.0.1:{port}/api/get_task_status_message?data={asked}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                message = json.load(answer)["response"]["statusMessage"]
            assert message.endswith("\nruns: no output yet"), message
        check_outputs(pipeline)
        assert pipeline.run(**how).ran == {}


def test_a_full_disk_and_a_read_only_one_lose_nothing(pipeline, small_disk):
    pipeline.root = small_disk
    first = pipeline.run("--label", "grass", "--limit", "15", stage="DownloadImages")
    assert first.status == 0, first.output
    place = pipeline.newest_output("DownloadImages(grass)")
    before = traces.snapshot(place)
    subprocess.run(["mount", "-o", "remount,size=700k", str(small_disk)], check=True)
    (small_disk / "ballast").write_bytes(bytes(100 << 10))
    with contextlib.suppress(OSError), (small_disk / "more").open("wb") as file:
        while file.write(bytes(4096)):
            file.flush()
    full = pipeline.run(
        "--label", "grass", "--limit", "15", "--force", "DownloadImages", stage="DownloadImages"
    )
    assert full.status != 0
    assert "the disk is full: free some space" in full.output
    assert traces.snapshot(place) == before
    (small_disk / "more").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    closed = pipeline.run(
        "--label", "grass", "--limit", "15", "--force", "DownloadImages", stage="DownloadImages"
    )
    assert closed.status != 0
    assert "the file system is read-only: choose another --root" in closed.output
    assert traces.snapshot(place) == before
    assert pipeline.run("--label", "grass", "--limit", "15", stage="DownloadImages").status == 0
    subprocess.run(["mount", "-o", "remount,rw,size=5m", str(small_disk)], check=True)
    again = pipeline.run(
        "--label", "grass", "--limit", "15", "--force", "DownloadImages", stage="DownloadImages"
    )
    assert again.status == 0, again.output
    assert traces.digest(traces.snapshot(place)) == traces.digest(before)


#: Bytes that are left for each stage: too few for any of its files, or for its largest one only.
LITTLE, SOME = 8 << 10, 3 << 20


@pytest.mark.parametrize(
    ("stage", "room"),
    [
        *((stage, LITTLE) for stage in STAGES[1:]),
        *((stage, SOME) for stage in ("TrainModel", "ExportModel", "DeployApp")),
    ],
)
def test_each_stage_says_that_the_disk_is_full(ready, tmp_path, small_disk, stage, room):
    """Whatever the library that could not write a file says of it. In this process, which may have it loaded."""
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    pipeline = pipeline_of_drawings(tmp_path / "home")
    pipeline.root = small_disk / "data"
    shutil.copytree(
        ready / "data root", pipeline.root, symlinks=True, ignore=shutil.ignore_patterns("server")
    )
    before = digests(pipeline)
    family, _, label = stage.rstrip(")").partition("(")
    options = [*pipeline.parameters(family), "--force", family, *(["--label", label] if label else [])]
    task = build(family, options, pipeline.root)
    with (small_disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(small_disk).free - room)
    try:
        with pytest.raises(StageError, match=f"cannot write {re.escape(str(pipeline.root))}/") as full:
            task.run()
    finally:
        pipeline.stop()
    remedy = "the disk is full: free some space (`greenr prune` removes outputs of earlier parameters)"
    assert remedy in str(full.value)
    assert digests(pipeline) == before
    check_outputs(pipeline)
