"""Machines that share a root, as far as the kernel lends them: each has processes, a network, a name and mounts of its
own, one of GlusterFS among them. Needs root."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--net")
SERVED = """
volume posix
  type storage/posix
  option directory {folder}
end-volume
volume locks
  type features/locks
  subvolumes posix
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.listen-port 24999
  option auth.addr.locks.allow *
  subvolumes locks
end-volume
"""
MOUNTED = """
volume client
  type protocol/client
  option transport-type tcp
  option remote-host {address}
  option remote-port 24999
  option remote-subvolume locks
end-volume
"""


def missing() -> str:
    """Why there can be no such machines here; empty if there can."""
    for command in ("unshare", "nsenter", "ip", "glusterfsd", "glusterfs"):
        if shutil.which(command) is None:
            return f"{command} is not there: `sh setup.sh test` installs it"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    trial = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    return f"needs root: {trial.stderr}" if trial.returncode else ""


class Host:
    def __init__(self, name: str) -> None:
        boot = 'hostname "$0"; ip link set lo up; echo up; exec sleep infinity'
        command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", boot, name]
        self.name, self._unshare = name, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._unshare.stdout and self._unshare.stdout.readline() == "up\n"
        self.init = int(Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text())

    def inside(self, *command: object) -> list[str]:
        spaces = ["--pid", "--mount", "--uts", "--net"]
        return ["nsenter", f"--target={self.init}", *spaces, *map(str, command)]

    def start(self, *command: object, **how: object) -> subprocess.Popen[str]:
        return subprocess.Popen(self.inside(*command), text=True, **how)  # type: ignore[call-overload,no-any-return]

    def run(self, *command: object) -> None:
        subprocess.run(self.inside(*command), check=True)

    def kill(self) -> None:
        """All processes of the machine at once, unasked."""
        self._unshare.kill()
        self._unshare.wait()
        self._unshare.stdout and self._unshare.stdout.close()


@contextlib.contextmanager
def sharing(folder: Path, *names: str) -> Iterator[tuple[Path, Host, list[Host]]]:
    """The folder that they share, at the same place on each, the machine where it lies, which is 10.77.<n>.1 to the
    machine <n>, and the machines."""
    (disk := folder / "disk").mkdir()
    (shared := folder / "shared").mkdir()
    (folder / "served.vol").write_text(SERVED.format(folder=disk))
    with contextlib.ExitStack() as stack:

        def boot(name: str) -> Host:
            host = Host(name)
            stack.callback(host.kill)
            return host

        hub, hosts = boot("hub"), [boot(name) for name in names]
        serving = hub.start("glusterfsd", "-N", "-f", folder / "served.vol", "-l", folder / "served.log")
        stack.callback(serving.wait)
        stack.callback(serving.kill)
        for number, host in enumerate(hosts):
            link = ["ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0"]
            # By numbers of processes that the hub does not see.
            net = ["nsenter", f"--target={hub.init}", "--net"]
            subprocess.run([*net, *link, "netns", str(host.init)], check=True)
            for machine, device, last in ((hub, f"v{number}", 1), (host, "eth0", 2)):
                machine.run("ip", "address", "add", f"10.77.{number}.{last}/24", "dev", device)
                machine.run("ip", "link", "set", device, "up")
            (folder / f"{host.name}.vol").write_text(MOUNTED.format(address=f"10.77.{number}.1"))
            host.run(
                "glusterfs", "-f", folder / f"{host.name}.vol", "-l", folder / f"{host.name}.log", shared
            )
            # Until it is connected, it says that it is not.
            while subprocess.run(host.inside("mountpoint", "-q", shared)).returncode:
                time.sleep(0.02)
        yield shared, hub, hosts
