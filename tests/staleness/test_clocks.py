"""Clocks that are wrong: set back, or ahead."""

import os
import shutil
import subprocess
import sys

import pytest

from greenr_luigi.about import PACKAGE
from greenr_luigi.staleness.stamp import stamps
from tests import toys
from tests.toys import ALL, build, cause

pytestmark = pytest.mark.slow

needs_faketime = pytest.mark.skipif(
    shutil.which("faketime") is None, reason="Debian's faketime is not there: `sh setup.sh test` installs it"
)
BUILD = """
import sys
from pathlib import Path
from tests import toys
print(*toys.build(Path(sys.argv[1]), force=tuple(sys.argv[3:]), times=int(sys.argv[2])))
"""


def build_at(clock, root, times=1, force=()):
    """What runs in a process whose clock is that much ahead, or behind."""
    command = ["faketime", "-f", clock, sys.executable, "-c", BUILD, str(root), str(times), *force]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.split()


@needs_faketime
def test_a_stamp_from_the_future_is_forced(root):
    assert build_at("+400d", root) == ALL
    final = toys.Final(root=root)
    assert final.stamp().started > final.build_began + 399 * 86400
    assert build(root) == []
    assert build(root, force=("Merge", "Final")) == ["Merge", "Final"]
    assert build_at("-400d", root) == []
    assert build_at("-400d", root, force=["Merge"]) == ["Merge"]
    assert build_at("-800d", root, force=["Merge"]) == ["Merge"]


@needs_faketime
def test_the_newest_is_what_was_done_last_whatever_the_clock_said(root):
    for times, clock in [(1, "+400d"), (2, "+0"), (3, "-400d"), (4, "+10d")]:
        assert "Count" in build_at(clock, root, times)
    newest_first = [stamp.parameters["times"] for stamp in stamps(root / "Count").values()]
    assert newest_first == ["4", "3", "2", "1"]
    assert cause(root, toys.Count, times=5) == "parameter times: 4 -> 5"
    numbers = [
        stamp.number for name in ("Read", "Merge", "Count", "Final") for stamp in stamps(root / name).values()
    ]
    assert sorted(numbers) == list(range(1, 1 + len(numbers)))


def test_stamps_without_a_number_are_older_than_those_with_one(root):
    build(root)
    first = toys.Count(root=root)
    stamp = first.stamp()
    stamp.number, stamp.finished = 0, stamp.finished + 400 * 86400
    stamp.write(first.output_folder)
    build(root, times=2)
    assert [found.parameters["times"] for found in stamps(root / "Count").values()] == ["2", "1"]
