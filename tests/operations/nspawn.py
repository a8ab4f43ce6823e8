"""A machine that systemd runs: this one's files under an overlay, in namespaces of its own. What happens there leaves
nothing behind here."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE
from greenr_luigi.operations.units import BOOTED
from tests.serving.looking import until

#: What it writes is gone when the shell that holds it ends. Each line that it reads starts the machine. What that says
#: goes to no pipe: a machine whose console is full stands still.
HOLD = """
set -e
{enter}
mount -t tmpfs none {place}
mkdir {place}/root
{{
    {below}
    cd {place}/root
    {prepare}
    cd /
}} > {place}.console 2>&1
echo off
while read line; do
    systemd-nspawn --quiet --directory={place}/root {options} /lib/systemd/systemd --unit=multi-user.target \
        >> {place}.console
    echo off
done
"""
#: This machine's files.
OVERLAY = """
    mkdir {place}/upper {place}/work
    mount -t overlay none -o lowerdir=/,upperdir={place}/upper,workdir={place}/work {place}/root
"""
#: No service but the ones that login and timers need; and who is no root may see the program.
PREPARE = """
rm -rf etc/systemd/system/*.wants etc/systemd/user/*.wants
mkdir -p etc/systemd/system.conf.d etc/systemd/user.conf.d
printf '[Manager]\\nDefaultEnvironment="PYTHONPATH={path}"\\n' \
    | tee etc/systemd/system.conf.d/test.conf > etc/systemd/user.conf.d/test.conf
chmod o+x {open}
chroot . useradd --create-home --home-dir /home/{user} {user}
"""
CGROUPS = [Path("/sys/fs/cgroup", name) for name in ("", "unified", "systemd")]
USER = "greenr-test"
HOMES = {"root": "/root", USER: f"/home/{USER}"}


class Machine:
    def __init__(self, holder: subprocess.Popen[str]) -> None:
        self.holder = holder

    def start(self) -> None:
        assert self.holder.stdin is not None
        self.holder.stdin.write("start\n")
        self.holder.stdin.flush()
        until(lambda: self.says("systemctl", "is-active", "multi-user.target") == "active", 60)

    def stop(self) -> None:
        """As a person shuts a machine down."""
        self.run("systemctl", "poweroff")
        self.wait_until_off()

    def wait_until_off(self) -> None:
        assert self.holder.stdout is not None
        while self.holder.stdout.readline() != "off\n":
            assert self.holder.poll() is None

    def run(
        self, *command: str, user: str = "root", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Of a user who has just logged in, but that systemd does not know of it."""
        (shell,) = children(self.holder.pid)
        (nspawn,) = (pid for pid in children(shell) if comm(pid) == "systemd-nspawn")
        (init,) = children(nspawn)
        words = ["nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        words += [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            f"PYTHONPATH={PACKAGE.parent}",
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--init-groups",
            "env",
            f"HOME={HOMES[user]}",
        ]
        done = subprocess.run([*words, *command], text=True, capture_output=True, timeout=timeout, cwd="/")
        assert done.returncode == 0 or not check, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
        return done

    def says(self, *command: str, user: str = "root") -> str:
        with contextlib.suppress(ValueError):  # It is about to start.
            return self.run(*command, user=user, check=False).stdout.strip()
        return ""


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """It is off."""
    if why := missing():
        pytest.skip(why)
    program = Path(sys.executable).resolve()
    bound = {PACKAGE.parent, Path(sys.prefix), program.parents[1]}
    device = Path("/").stat().st_dev
    hidden = (path for path in bound if path.parts[1] in ("tmp", "run") or path.stat().st_dev != device)
    options = ["--private-network", *(f"--bind-ro={path}" for path in sorted(hidden))]
    opened = [*program.parents, *PACKAGE.parents]
    prepare = PREPARE.format(
        path=PACKAGE.parent, open=shlex.join(sorted(f".{path}" for path in opened)), user=USER
    )
    with held(tmp_path / "machine", prepare, options, OVERLAY) as made:
        yield made


def missing() -> str:
    """Why there can be no such machine here; empty if there can."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        return "needs root, and `sh setup.sh test`, which installs systemd-container"
    return ""


@contextlib.contextmanager
def held(place: Path, prepare: str, options: Sequence[str], below: str = "") -> Iterator[Machine]:
    """A machine that is off. `below`: what mounts its files; `prepare`: lines of a shell in its root, which bring them
    otherwise; `options`: of systemd-nspawn."""
    place.mkdir()
    console = place.with_name(f"{place.name}.console")
    given = [*options, "--register=no", *([] if BOOTED.is_dir() else ["--keep-unit"])]
    command = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c"]
    with own_cgroup() as enter:
        below = below.format(place=place)
        script = HOLD.format(
            place=place, below=below, prepare=prepare, options=shlex.join(given), enter=enter
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command, script], text=True, **pipes) as process:
            made = Machine(process)
            try:
                made.wait_until_off()
                yield made
            finally:
                print(console.read_text(errors="replace")[-3000:] if console.exists() else "")
                if process.poll() is None:
                    print(made.says("journalctl", "--boot", "--no-pager", "--lines=200"))
                process.kill()


@contextlib.contextmanager
def own_cgroup() -> Iterator[str]:
    """How a shell enters control groups that are removed in the end; systemd does that by itself where it runs."""
    bases = [path for path in CGROUPS if (path / "cgroup.procs").exists() and not BOOTED.is_dir()]
    groups = [base / f"greenr-test-{os.getpid()}" for base in bases]
    for group in groups:
        group.mkdir()
    try:
        yield "; ".join(f"echo 0 > {group}/cgroup.procs" for group in groups)
    finally:
        # What it holds takes a moment to be gone.
        until(lambda: not any(map(still_there, groups)))


def still_there(group: Path) -> bool:
    for path in sorted([group, *filter(Path.is_dir, group.rglob("*"))], reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
    return group.exists()
