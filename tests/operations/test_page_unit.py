"""The page's unit, and the dashboard's: how little it leaves open, and that the server runs with no more than that.

Its filters are put on by hand, as the kernel gets them from systemd: that needs neither root nor a machine of its
own."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE
from greenr_luigi.operations import unit_texts
from greenr_luigi.operations.plan import plan
from tests import tiny_release
from tests.pipeline import free_port
from tests.serving.looking import get, masters, served, until
from tests.serving.test_full_disk import post

NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd"
)
#: Puts on a filter of system calls and becomes a command. The numbers are PR_SET_NO_NEW_PRIVS, and PR_SET_SECCOMP with
#: SECCOMP_MODE_FILTER.
FILTERED = """
import ctypes, os, sys
program = open(sys.argv[1], "rb").read()
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program)), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[2], sys.argv[2:])
"""
LOAD, EQUALS, HAS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # EPERM


def settings(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, re.M)


def analyze(*words: str) -> str:
    run = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's, as root installs it for a user's folder."""
    (tmp_path / "luigi.cfg").touch()
    monkeypatch.setattr(unit_texts, "is_system", lambda: True)
    monkeypatch.setattr(unit_texts, "owner_of", lambda _: 1000)
    planned = replace(plan(tmp_path, Path("data"), [], None), dashboard=True)
    _, _, page, dashboard = unit_texts.texts(planned).values()
    # So what holds for one holds for the other.
    kept = ("ExecStart=", "Description=", "KillMode=", "TimeoutStopSec=", "#")
    same = [[line for line in one.splitlines() if not line.startswith(kept)] for one in (page, dashboard)]
    assert same[0] == same[1]
    return page


def test_it_leaves_little_open(unit: str, tmp_path: Path) -> None:
    (tmp_path / "page.service").write_text(unit)
    # In tenths.
    analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(tmp_path / "page.service"))


def calls(words: str) -> set[str]:
    """The system calls of a list of names and @groups."""
    found: set[str] = set()
    for word in words.split():
        if word.startswith("@"):
            listed = analyze("syscall-filter", word).splitlines()[1:]
            found |= calls(" ".join(line for line in listed if not line.lstrip().startswith("#")))
        else:
            found.add(word)
    return found


def program(unit: str) -> bytes:
    """The unit's filter for the kernel, in its language (seccomp(2))."""
    numbers = {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", NUMBERS.read_text())}
    allowed = calls("@default")
    for words in settings(unit, "SystemCallFilter"):
        allowed = allowed - calls(words[1:]) if words.startswith("~") else allowed | calls(words)
    steps = [(LOAD, 0, 0, 0)]
    # MemoryDenyWriteExecute: the call, its third argument's bits, and all of them or one.
    for name, bits in (("mmap", (2, 4)), ("mprotect", (4,)), ("pkey_mprotect", (4,)), ("shmat", (0o100000,))):
        checks = [(HAS, 0, len(bits) - index, bit) for index, bit in enumerate(bits)]
        steps += [(EQUALS, 0, len(bits) + 3, numbers[name]), (LOAD, 0, 0, 32), *checks]
        steps += [(RETURN, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    for name in sorted(allowed & numbers.keys()):
        steps += [(EQUALS, 0, 1, numbers[name]), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in [*steps, (RETURN, 0, 0, REFUSE)])


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() != "x86_64" or not NUMBERS.exists(),
    reason="needs x86-64 and the numbers of linux-libc-dev",
)
def test_the_server_runs_with_no_more_than_the_unit_allows(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run_dir = tmp_path / "data", tmp_path / "data" / "server"
    digest, port = tiny_release.deploy(root / "releases"), free_port()
    (tmp_path / "luigi.cfg").write_text(
        f"[DeployApp]\nport = {port}\nweb_workers = 2\n[server]\nfeedback = 1\n"
    )
    (tmp_path / "filter").write_bytes(program(unit))
    filtered = [sys.executable, "-c", FILTERED, str(tmp_path / "filter")]
    forbidden = [*filtered, sys.executable, "-c", "import mmap; mmap.mmap(-1, 4096, prot=7)"]
    refused = subprocess.run(forbidden, capture_output=True, text=True)
    assert "Operation not permitted" in refused.stderr
    command = shlex.split(settings(unit, "ExecStart")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    with subprocess.Popen([*filtered, *command], stderr=subprocess.PIPE, text=True) as page:
        try:
            until(lambda: served(port) == digest, 30)
            assert post(port, "/api/predict?show=1").json()["label"] == "dandelion"
            assert post(port, "/feedback", label="grass").status_code == 200
            newer = tiny_release.deploy(root / "releases", 1)
            until(lambda: served(port) == newer, 30)
            worker = json.loads(next(run_dir.glob("workers/*.json")).read_text())["pid"]
            os.kill(worker, signal.SIGKILL)
            until(
                lambda: get(port, "/healthz")[0] == 200 and not (run_dir / f"workers/{worker}.json").exists()
            )
            until(lambda: served(port) == newer, 30)
        finally:
            page.terminate()
            _, said = page.communicate(timeout=120)
    log = (run_dir / "gunicorn.log").read_text()
    assert (page.returncode, said, masters(root)) == (0, "", []), said
    assert "[ERROR] [" not in log and "Traceback" not in log, log
