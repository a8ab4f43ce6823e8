"""Cores that a process may use, by its group's limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi import cores


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"": "200000 100000"}, [2]),
        ("0::/\n", {"": "max 100000"}, []),
        ("12:cpu:/x\n0::/a/b\n", {"a/b": "150000 100000", "a": "100000 100000", "": "max 100000"}, [2, 1]),
        ("0::/a\n", {"a": "1000 100000"}, [1]),
        ("0::/../outside\n", {}, []),
        ("12:cpu:/x\n", {"": "100000 100000"}, []),
        ("", {}, []),
        ("0::/a\n", {"a": "nonsense"}, []),
    ],
)
def test_limits_of_the_group_and_of_those_around_it(
    tmp_path: Path, own: str, limits: dict[str, str], expected: list[int]
) -> None:
    (tmp_path / "own").write_text(own)
    for group, text in limits.items():
        (tmp_path / "groups" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / group / "cpu.max").write_text(text)
    assert cores._limits(tmp_path / "groups", tmp_path / "own") == expected


def test_what_a_process_is_bound_to_counts() -> None:
    assert 1 <= cores.allowed() <= len(os.sched_getaffinity(0))
    one = min(os.sched_getaffinity(0))
    taskset = shutil.which("taskset")
    assert taskset
    code = "from greenr_luigi import cores; print(cores.allowed())"
    command = [taskset, "-c", f"{one}", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_nothing_else_counts_cores() -> None:
    package = Path(cores.__file__).parent
    counting = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in ("cpu_count", "sched_getaffinity"))
    }
    assert counting == {"cores.py"}


RUN = """
import sys
from pathlib import Path
from tests.test_stage import Text
Text(root=Path(sys.argv[1])).run()
import torch
"""


@pytest.mark.slow
@pytest.mark.parametrize(("told", "spins"), [(None, r"'0'"), ("ACTIVE", r"'[1-9]\d+'")])
def test_what_a_stage_computes_leaves_its_cores_to_others_while_it_waits(
    tmp_path: Path, told: str | None, spins: str
) -> None:
    """Unless a person has said otherwise; by what OpenMP tells of itself when torch loads it."""
    environment = {**os.environ, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("OMP_WAIT_POLICY", None)
    if told:
        environment["OMP_WAIT_POLICY"] = told
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert f"OMP_WAIT_POLICY = '{told or 'PASSIVE'}'" in done.stderr
    # It tells of that policy where none is set, too, and then waits busily for a while.
    assert re.search(f"GOMP_SPINCOUNT = {spins}", done.stderr), done.stderr
