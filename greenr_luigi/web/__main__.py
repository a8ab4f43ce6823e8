"""`python -m greenr_luigi.web`: the server in the foreground, for a container. It follows `current` of the store, also
where nothing has been released yet, and says everything on standard error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from greenr_luigi import files
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.serving import launch, server
from greenr_luigi.serving.service import Service
from greenr_luigi.serving.sockets import listen
from greenr_luigi.web.settings import SettingsError, from_environment


def main(argv: Sequence[str] | None = None) -> None:
    """Becomes gunicorn. GREENR_STORE and GREENR_RUN_DIR say where; the second is this server's alone, and may be lost.

    Raises GreenrError: a setting that cannot be used, an address that cannot be had.
    """
    parser = argparse.ArgumentParser(prog="python -m greenr_luigi.web", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8008, help="port to listen on")
    parser.add_argument("--workers", type=int, default=0, help="processes; one a core if absent")
    given = parser.parse_args(argv)
    settings = from_environment(os.environ)
    if (run_dir := settings.run_dir) is None:
        raise SettingsError("GREENR_RUN_DIR is not set: expected a folder of this server's own")
    service = Service(settings.store, run_dir, given.host, given.port, given.workers, settings.root_path)
    files.private_folder(run_dir)
    server.tidy(run_dir, launch="")
    note = replace(launch.as_loaded(service.note()), launch=launch.name())
    for name in ("workers", note.launch):
        files.private_folder(run_dir / name)
    listening = listen(note.host, note.port)
    os.set_inheritable(listening.fileno(), True)
    environment = {**launch.environment(run_dir, note), launch.SOCKET: str(listening.fileno())}
    os.execve(sys.executable, launch.command(note, "-"), environment)


if __name__ == "__main__":
    try:
        with os_refusals_explained():
            main()
    except GreenrError as error:
        sys.exit(f"greenr: {error}")
