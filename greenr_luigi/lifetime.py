"""Processes that import what the one that has started them does, and do not outlive it."""

from __future__ import annotations

import ctypes
import os
import sys

#: prctl(2). It is looked up here, and not between fork and exec.
_prctl, PR_SET_PDEATHSIG = ctypes.CDLL(None).prctl, 1


def end_with(parent: int, number: int) -> bool:
    """Have the kernel send this process a signal when the one that has started it ends, however that does. False if it
    has ended before."""
    _prctl(PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


def environment() -> dict[str, str]:
    """That of a process that is to import the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
