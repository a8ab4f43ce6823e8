"""A machine of its own, as far as the kernel lends one: processes, users, cron's table, a small disk and a clock. Needs
root. What lies in its /home is under `home` here."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

CRONTABS = Path("/var/spool/cron")
#: No user of this machine has these numbers.
USERS = {"alice": 54301, "bob": 54302}
NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
#: Where it lies, and folders of Python with the folder above each that others may not enter, such as root's home.
BOOT = rf"""
set -e
mount --bind "$1/home" /home
mount --bind "$1/etc" /etc
mount --bind "$1/cron" {CRONTABS}
mount -t tmpfs -o mode=1777 none /dev/shm
shift; open=/home/.open
while [ $# -gt 0 ]; do
    mkdir -p "$open"; mount --bind "$1" "$open"
    mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$1"; mount --bind "$open" "$1"
    shift 2; open=$open.
done
exec env --ignore-signal=CHLD sleep infinity
"""


def missing() -> str:
    """Why there can be no such machine here; empty if there can."""
    for command in ("unshare", "nsenter", "setpriv", "crontab", "cc"):
        if shutil.which(command) is None:
            return f"{command} is not there: `sh setup.sh test` installs it"
    trial = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    return f"needs root: {trial.stderr}" if trial.returncode else ""


class Machine:
    """`folder`: where its disk, of so many MiB, is mounted; `environment`: that of the whole machine."""

    def __init__(self, folder: Path, disk: int, environment: dict[str, str]) -> None:
        self.folder, self.home = folder, folder / "home"
        self.environment = environment
        self.init: int | None = None
        self.home.mkdir(parents=True)
        size = ["mount", "-t", "tmpfs", "-o", f"size={disk}m,mode=755", "tmpfs", str(self.home)]
        subprocess.run(size, check=True)
        lines = "".join(f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n" for name, uid in USERS.items())
        # The whole folder: a file that is replaced outside, as by apt, loses what is mounted on it.
        subprocess.run(["cp", "-a", "/etc", str(folder)], check=True)
        with (folder / "etc/passwd").open("a") as file:
            file.write(lines)
        (folder / "cron").mkdir()
        made = shutil.copytree(CRONTABS / "crontabs", folder / "cron/crontabs", ignore=lambda _, names: names)
        shutil.chown(made, group="crontab")
        made.chmod(0o1730)
        for name, uid in USERS.items():
            (self.home / name).mkdir(mode=0o755)
            shutil.chown(self.home / name, uid, uid)
        shutil.copy(Path(__file__).with_name("clock.c"), self.home)
        compiling = ["cc", "-O2", "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
        subprocess.run(compiling, cwd=self.home, check=True)

    def put(self, variable: str, file: Path) -> None:
        """A copy of a file, whose place the environment tells."""
        self.environment[variable] = f"/home/{file.name}"
        shutil.copy(file, self.home)

    def boot(self) -> None:
        opened = []
        for place in map(Path, dict.fromkeys([sys.base_prefix, sys.prefix])):
            closed = [str(above) for above in place.parents if not above.stat().st_mode & stat.S_IXOTH]
            opened += [str(place), closed[-1]] if closed else []
        # It ends with us, whatever ends us.
        command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", BOOT, "boot", str(self.folder)]
        self._unshare = subprocess.Popen([*command, *opened])
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while not self.init:
            assert self._unshare.poll() is None
            # unshare's child is the shell, and then what that becomes.
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"):
                    self.init = int(pid)

    def cut_power(self) -> None:
        """All processes end at once, unasked."""
        if self.init:
            self._unshare.kill()
            self._unshare.wait()
            while Path(f"/proc/{self.init}").exists():
                time.sleep(0.01)
            self.init = None

    def scrap(self) -> None:
        self.cut_power()
        subprocess.run(["umount", "--lazy", str(self.home)], check=True)

    def set_clock(self, now: datetime) -> None:
        """For all processes, also those that run."""
        ahead = round((now.timestamp() - time.time()) * 10**9)
        # In place: the disk may be full, and processes have mapped it.
        with (self.home / "clock").open("r+b" if self.init else "wb") as file:
            file.write(ahead.to_bytes(8, sys.byteorder, signed=True))

    def start(
        self, user: str, line: str, settings: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[str]:
        """A shell's line with the environment of cron, and what is given. `user`: one of USERS, or root."""
        uid = USERS.get(user, 0)
        given = {
            "HOME": f"/home/{user}", "LOGNAME": user, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin",
            "LD_PRELOAD": "/home/clock.so", "CLOCK": "/home/clock", **self.environment, **settings,
        }  # fmt: skip
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        bare = ["env", "-i", *(f"{name}={value}" for name, value in given.items())]
        return subprocess.Popen(
            ["nsenter", f"--target={self.init}", "--pid", "--mount", *become, *bare, "/bin/sh", "-c", line],
            cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, user: str, line: str) -> subprocess.CompletedProcess[str]:
        """Its `stdout` is all that was said."""
        process = self.start(user, line)
        said, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(line, process.returncode, said)

    def cron(self, user: str, when: str = "") -> subprocess.Popen[str]:
        """Start what the user's crontab has for `when`, such as @reboot, or daily if that is empty; as cron does."""
        told = self.run(user, "crontab -l")
        assert told.returncode == 0, told
        table = told.stdout.splitlines()
        settings = dict(line.split("=", 1) for line in table if re.match(r"\w+=", line))
        commands = [line.removeprefix(f"{when} ") for line in table if when and line.startswith(f"{when} ")]
        commands += [line.split(" ", 5)[5] for line in table if not when and re.match(r"[\d*]+ ", line)]
        (command,) = commands
        assert not re.search(r"(?<!\\)%", command)
        return self.start(user, command.replace(r"\%", "%"), settings)
