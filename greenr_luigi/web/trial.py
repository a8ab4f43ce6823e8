"""Loads a release on trial, in a process of its own: one that never comes to an end, crashes, or takes more memory than
there is does so there, and no worker with it."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from greenr_luigi import lifetime
from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness.shown import harmless
from greenr_luigi.web.model import ModelError, load

#: How the process ends where it says why: the release must not serve, or something failed that may pass.
REFUSED, FAILED = 3, 4
#: Characters of what it says: a release may have names of any length.
MOST_SAID = 2000
#: Seconds between two looks whether a trial is still wanted.
POLL = 0.1


def start(store: Path, digest: str, int8: bool) -> subprocess.Popen[bytes]:
    """A process that loads a release as `model.load` does, and ends with this one."""
    asked = [str(os.getpid()), str(store), digest, str(int(int8))]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, *asked],
        env=lifetime.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes], digest: str, timeout: float, wanted: Callable[[], bool]) -> bool:
    """Wait for the end of a trial; False if the release is no longer `wanted`, and the trial broken off. Raises
    ModelError for a release that must not serve, and OSError for what may pass: also if the trial takes more than
    `timeout` seconds, or does not end well."""
    deadline, said = time.monotonic() + timeout, None
    with process:
        while said is None:
            try:
                said = process.communicate(timeout=POLL)[0].decode()
            except subprocess.TimeoutExpired:
                if not wanted():
                    process.kill()
                    return False
                if time.monotonic() > deadline:
                    process.kill()
                    raise TimeoutError(
                        f"release {digest} did not load within {timeout:g} seconds: if it is sound and the machine "
                        "slow, raise GREENR_LOAD_SECONDS"
                    ) from None
    if process.returncode == REFUSED:
        raise ModelError(said)
    if process.returncode == FAILED:
        raise OSError(said)
    if status := process.returncode:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ChildProcessError(
            f"release {digest} ended the process that loaded it ({how}): it takes more memory than there is, or "
            "crashes ONNX Runtime; export the model again"
        )
    return True


def main(parent: str, store: str, digest: str, int8: str) -> int:
    if not lifetime.end_with(int(parent), signal.SIGKILL):
        return FAILED  # It has ended before it was waited for.
    limit_memory()
    try:
        load(Path(store), digest, bool(int(int8)))
    except (GreenrError, OSError, MemoryError) as error:
        print(harmless(str(error)[:MOST_SAID]) or type(error).__name__, end="")
        return REFUSED if isinstance(error, GreenrError) else FAILED
    return 0


def limit_memory() -> None:
    """At most what is free now; and if that is not enough for all, this process is the one to go."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    free = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    if free:
        resource.setrlimit(resource.RLIMIT_AS, (taken + int(free[1]) * 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
