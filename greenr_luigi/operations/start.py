"""Starts what is there, without a run: as after a reboot."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.stages import deploying_stage

if TYPE_CHECKING:
    from greenr_luigi.serving.readiness import Server
    from greenr_luigi.serving.service import Service


def start(root: Path, module: str = "tasks") -> Server:
    """Serve the last good release under a root as the newest deployment served it; as luigi.cfg says before the first.

    Raises GreenrError if there is no such release, or it does not come to serve.
    """
    from greenr_luigi.deployment.deploy import serve

    service = service_of(root, module)
    if words := service.untold():
        print(words, file=sys.stderr)
    return serve(service, print)


def stay(root: Path, module: str = "tasks") -> None:
    """See that the last good release serves, unless a person has stopped the page, and stay as long as a server of the
    root runs, whoever has started it. Whoever ends this process ends the server, for now.

    Raises GreenrError if it does not come to serve, and where it has ended by itself."""
    from greenr_luigi.deployment.deploy import serve_on
    from greenr_luigi.serving import server

    # A server would answer there, too.
    notify = os.environ.pop("NOTIFY_SOCKET", None)
    service = service_of(root, module)
    if service.elsewhere:
        raise not_ours(service.elsewhere)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        serve_on(service, print)
        if notify:
            tell_systemd(notify)
        died = server.wait_for_end(service.run_dir)
    except (SystemExit, KeyboardInterrupt):
        server.stop(service.run_dir, for_now=True)
        raise
    if died:
        raise GreenrError(
            f"the server of {root} has ended: see its log in {service.run_dir}, and start it again"
        )


def elsewhere(root: Path, module: str = "tasks") -> str:
    """The address of the server of a root that others start and stop; empty where it is ours."""
    last_service = getattr(deploying_stage(module), "last_service", None)
    try:
        return last_service(root).elsewhere if last_service else ""
    except GreenrError:
        return ""  # Where luigi.cfg is wrong, `greenr` says so besides; what runs here is found without it.


def tell_systemd(address: str) -> None:
    """Tell systemd that it need wait no longer (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"READY=1", address.replace("@", "\0", 1))


def not_ours(address: str) -> GreenrError:
    return GreenrError(
        f"the server at {address} is others' to start and stop ([DeployApp] served_at): do so there"
    )


def service_of(root: Path, module: str) -> Service:
    """As the newest deployment under a root served; as luigi.cfg says before the first. Raises GreenrError."""
    stage = deploying_stage(module)
    last_service = getattr(stage, "last_service", None)
    if last_service is None:
        raise GreenrError(f"{stage.get_task_family()} has no server on this machine that could be started")
    service: Service = last_service(root)
    return service
