"""Training over processes and hosts: as one process would, or not at all."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from greenr_luigi.errors import GreenrError
from greenr_luigi.text import percent
from greenr_luigi.training import launch
from greenr_luigi.training.train import Hyperparameters
from tests import walk
from tests.operations import hosts
from tests.pipeline import REPOSITORY, Pipeline, pipeline_of_drawings
from tests.progress import quiet

pytestmark = pytest.mark.slow

HOW = Hyperparameters("tf_efficientnet_lite0", epochs=3, seed=3, image_size=32, recipe="finetune")
TWO = ("--recipe=finetune", "--image-size=32", "--processes=2")


def ranks(above: int, wanted: int = 2) -> list[int]:
    """The processes that train together below another one, by rank; fewer while not all have started."""
    found, todo = dict[int, int](), [above]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {int(entry[5:]): pid for entry in entries if entry.startswith(b"RANK=")}
    return [found[rank] for rank in sorted(found)] if len(found) == wanted else []


@contextlib.contextmanager
def training(pipeline: Pipeline, *options: str):
    """A run in which two processes are training, and these."""
    with pipeline.start(*TWO, *options, stage="TrainModel") as process:
        try:
            # The first that is told; what comes within a second of it is not.
            assert any("to validate on" in line for line in process.stdout)
            yield process, ranks(process.pid)
        finally:
            process.kill()


def await_ends(handles: list[int]) -> None:
    """Each is a pidfd."""
    for handle in handles:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        assert ended.poll(60_000)
        os.close(handle)


def test_processes_learn_as_one_would_and_all_the_same(tmp_path):
    """Each step is that of a single process, on the same pictures, whether or not a batch can be shared out evenly."""
    dataset = walk.drawn(tmp_path / "dataset")
    (dataset / "manifest.csv").rename(dataset / "labels.csv")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    batches = ("32", "31")
    module = ["-m", "tests.training.averaged", dataset, tmp_path / "out", *batches]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for how in ([], torchrun):
        subprocess.run([sys.executable, *how, *module], env=environment, cwd=REPOSITORY, check=True)
    for batch in batches:
        alone, first, second = (
            torch.load(tmp_path / "out" / name / f"numbers {batch}.pt") for name in ("alone", "0", "1")
        )
        for name, weights in alone[0].items():
            assert torch.equal(first[0][name], second[0][name])
            torch.testing.assert_close(first[0][name], weights)
        for epoch, expected in zip(first[1], alone[1], strict=True):
            assert epoch == pytest.approx(expected, rel=1e-4)
    models = [(tmp_path / "out" / rank / "model.safetensors").read_bytes() for rank in "01"]
    assert models[0] == models[1]


def test_a_stage_trains_in_two_processes_and_counts_for_any_number(tmp_path):
    pipeline = pipeline_of_drawings(tmp_path)
    run = pipeline.run(*TWO, stage="TrainModel")
    assert run.status == 0, run.output
    model = pipeline.newest_output("TrainModel")
    info = json.loads((model / "training.json").read_text())
    assert info["processes"] == 2 and info["recipe"] == "finetune"
    first, *_, last = info["history"]
    assert last["valid_loss"] < 0.7 * first["valid_loss"]
    said = f"TrainModel 100 %  trained; {percent(last['error_rate'], 1)} of the validation pictures are wrong"
    assert said in run.output
    assert pipeline.causes(*TWO[:2], stage="TrainModel") == {}
    # The same again is the same.
    before = (model / "model.safetensors").read_bytes()
    assert pipeline.run(*TWO, "--force", "TrainModel", stage="TrainModel").status == 0
    assert (pipeline.newest_output("TrainModel") / "model.safetensors").read_bytes() == before


def test_a_killed_process_ends_the_stage_without_an_output(tmp_path):
    pipeline = pipeline_of_drawings(tmp_path)
    with training(pipeline) as (process, (first, second)):
        handle = os.pidfd_open(first)
        os.kill(second, signal.SIGKILL)
        run = pipeline.finish(process)
    await_ends([handle])
    assert run.status == 30
    assert "ended early: process 1: Signal 9 (SIGKILL)" in run.output
    assert "Traceback" not in run.output
    assert not [path for path in (pipeline.root / "TrainModel").iterdir() if path.is_symlink()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_run(tmp_path, how):
    with training(pipeline_of_drawings(tmp_path)) as (process, started):
        handles = [os.pidfd_open(pid) for pid in started]
        process.send_signal(how)
        process.communicate()
        await_ends(handles)


def test_what_a_person_can_mend_is_told_in_a_sentence(tmp_path, capfd):
    """Whichever process meets it: the second picture is the second process's."""
    dataset = shutil.copytree(walk.walk().dataset, tmp_path / "d")
    victim = sorted((dataset / "train" / "disc").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(GreenrError, match=victim.name):
        launch.train(dataset, tmp_path, HOW, processes=2, torchrun="--standalone", on_progress=quiet)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("torchrun", "says"),
    [
        ("--hosts 2", "unrecognized arguments: --hosts"),
        ("--help", "without a model"),
    ],
)
def test_options_that_torchrun_does_not_train_by(tmp_path, torchrun, says):
    with pytest.raises(GreenrError, match=says):
        launch.train(tmp_path, tmp_path, HOW, processes=1, torchrun=torchrun, on_progress=quiet)


def test_one_process_waits_for_no_others_that_a_cluster_tells_of(tmp_path, monkeypatch):
    dataset = walk.walk().dataset
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = {"processes": 1, "torchrun": launch.STANDALONE, "on_progress": quiet}
    assert launch.train(dataset, tmp_path, replace(HOW, recipe="head"), **alone).processes == 1


TRAIN = """
import json, sys
from pathlib import Path
from greenr_luigi.training import launch
dataset, out, torchrun, how = json.loads(sys.argv[1])
how, tell = launch.training.Hyperparameters(**how), lambda fraction, words: print(words, flush=True)
trained = launch.train(Path(dataset), Path(out), how, processes=1, torchrun=torchrun, on_progress=tell)
print(trained.processes, flush=True)
"""


@pytest.mark.machine
def test_two_hosts(tmp_path):
    """Network namespaces with names of their own. The other host needs to be told nothing but where to meet; and when
    it dies, the one that leads says so."""
    if why := hosts.missing():
        pytest.skip(why)
    dataset = walk.drawn(tmp_path / "dataset", each=100)
    (dataset / "manifest.csv").rename(dataset / "labels.csv")
    (tmp_path / "names").write_text("127.0.0.1 localhost\n10.78.0.1 one\n10.78.0.2 two\n")
    meet = "--nnodes 2 --rdzv-backend c10d --rdzv-endpoint one:29400"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        one, two = (hosts.Host(name) for name in ("one", "two"))
        for host in (one, two):
            stack.callback(host.kill)
            host.run("mount", "--bind", tmp_path / "names", "/etc/hosts")
        link = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(two.init)]
        subprocess.run(["nsenter", f"--target={one.init}", "--net", *link], check=True)
        # A host that dies takes no other's cable with it.
        stack.enter_context(Path(f"/proc/{two.init}/ns/net").open())
        for number, host in enumerate((one, two), 1):
            host.run("ip", "address", "add", f"10.78.0.{number}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")

        def start(out: Path):
            out.mkdir()
            asked = [str(dataset), str(out), meet, asdict(HOW)]
            pipe, both = subprocess.PIPE, subprocess.STDOUT
            leading = one.start(
                sys.executable, "-c", TRAIN, json.dumps(asked), env=environment, stdout=pipe, stderr=both
            )
            torchrun = [sys.executable, "-m", "torch.distributed.run", *meet.split(), "--nproc-per-node", "1"]
            helping = two.start(*torchrun, "-m", launch.RANK, env=environment, stdout=pipe, stderr=both)
            for process in (leading, helping):
                stack.enter_context(process)
                stack.callback(process.kill)
            return leading, helping

        leading, helping = start(tmp_path / "out")
        said, of_helper = leading.communicate()[0], helping.communicate()[0]
        assert (leading.returncode, helping.returncode) == (0, 0), said + of_helper
        assert (
            said.endswith("2\n")
            and json.loads((tmp_path / "out" / "training.json").read_text())["processes"] == 2
        )
        leading, helping = start(tmp_path / "none")
        assert any("looking at pictures" in line for line in leading.stdout)
        two.kill()
        said = leading.communicate()[0]
        assert leading.returncode == 1 and "ended early: process " in said
        assert not list((tmp_path / "none").iterdir())
