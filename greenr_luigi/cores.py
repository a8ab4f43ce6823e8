"""How many cores this process may keep busy, and that it leaves them to others while it waits."""

from __future__ import annotations

import math
import os
from pathlib import Path

from greenr_luigi.staleness import regular

#: Where the kernel shows groups of processes (cgroup v2), and to which one this process belongs.
GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def allowed() -> int:
    """Those that it may run on, and no more than a container's limit gives it (`docker run --cpus 2`, Kubernetes'
    limits): a machine may have many more. At least 1."""
    return max(1, min([len(os.sched_getaffinity(0)), *_limits(GROUPS, OWN)]))


def left_to_others_while_waiting() -> None:
    """Threads that compute together wait for each other at each step, and those of OpenMP keep their cores busy
    meanwhile: where anything else needs these, such as the server, a training takes 1.4 to 6 times as long
    (docs/benchmarks-appendix.md, Beside other work). To be called before torch is imported, when OpenMP reads what it
    is told. What a person has told it stays."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _limits(groups: Path, own: Path) -> list[int]:
    """The limits of the group and of those that it lies in, rounded up."""
    found = []
    try:
        line = next(line for line in regular.read(own).decode().splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        return []
    group = groups / line.removeprefix("0::/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(groups):
            break
        try:
            quota, period = map(int, regular.read(folder / "cpu.max").split())
        except (OSError, ValueError):  # None there, or `max`.
            continue
        found.append(math.ceil(quota / period))
    return found
