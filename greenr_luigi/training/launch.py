"""Trains in this process; or in several, here and on other hosts, by PyTorch's torchrun."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenr_luigi import contracts, cores, lifetime
from greenr_luigi.errors import GreenrError
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import code, loaded
from greenr_luigi.training import train as training
from greenr_luigi.training.saved_model import Training

#: torchrun's options for processes of this host alone.
STANDALONE = "--standalone"
RANK = "greenr_luigi.training.rank"


def train(
    dataset: Path,
    out: Path,
    how: training.Hyperparameters,
    *,
    processes: int,
    torchrun: str,
    on_progress: OnProgress,
    root: Path | None = None,
) -> Training:
    """As `train.train`, in so many processes on this host. `torchrun`: its options that say how they and those of other
    hosts find each other.

    Whatever ends this process ends the others. Raises GreenrError where one of them fails, too."""
    if processes == 1 and torchrun == STANDALONE:
        # A cluster sets it for its jobs, whatever these do; fastai would wait for others.
        os.environ.pop("WORLD_SIZE", None)
        return training.train(dataset, out, how, root=root, on_progress=on_progress)
    asked = json.dumps({"dataset": str(dataset), "out": str(out), "root": root and str(root), **asdict(how)})
    environment = {
        "OMP_NUM_THREADS": str(max(1, cores.allowed() // processes)),
        **lifetime.environment(),
        "PYTHONSAFEPATH": "1",
    }
    arguments = [*torchrun.split(), "--nproc-per-node", str(processes), "-m", RANK, asked]
    command = [sys.executable, "-m", __name__, str(os.getpid()), *arguments]
    last: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as launcher:
            try:
                for line in launcher.stdout or ():
                    with contextlib.suppress(json.JSONDecodeError):
                        said = json.loads(line)
                        last = last if "refused" in last else said
                        if "fraction" in said:
                            on_progress(said["fraction"], said["words"])
            finally:
                launcher.terminate()
        if launcher.returncode or not (out / "training.json").exists():
            errors.seek(0)
            raise _failure(last, errors.read().strip(), " ".join(arguments[:-1]))
    # The processes have loaded the code anew.
    if edited := loaded.edited(code.snapshot(code.sources([training.__name__]))):
        error = GreenrError(
            f"{edited} was edited while processes were started that train by it: run it again"
        )
        error.passing = True
        raise error
    return contracts.read(out / "training.json", Training)


def _failure(last: dict[str, Any], errors: str, command: str) -> GreenrError:
    """What to raise after the last that the processes told. `errors`: their standard error output."""
    if "refused" in last:
        error = GreenrError(last["refused"])
        error.passing = last["passing"]
        return error
    if not last.get("killed"):
        # It may be a fault of the program.
        print(errors, file=sys.stderr)
    why = last.get("ended") or (errors.splitlines() or ["without a model"])[-1]
    return GreenrError(f"training by `torchrun {command}` ended early: {why}")


def main(parent: str, *arguments: str) -> int:
    """torchrun, which ends with the process that has started it, and tells that which of its own has ended first."""
    if not lifetime.end_with(int(parent), signal.SIGTERM):
        return 1
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    try:
        run.main(arguments)
    except ChildFailedError as failed:

        def order(each: tuple[int, ProcessFailure]) -> tuple[bool, bool, int]:
            """One that was killed before those that have lost it; last, those that torchrun has ended then."""
            code = each[1].exitcode
            return code == -signal.SIGTERM, code >= 0, each[1].timestamp

        rank, first = min(failed.failures.items(), key=order)
        said = first.message
        words = said["message"] if isinstance(said, dict) else said
        killed = first.exitcode < 0
        hint = ": it took more memory than there is, or somebody ended it" if killed else ""
        print(json.dumps({"ended": f"process {rank}: {words}{hint}", "killed": killed}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
