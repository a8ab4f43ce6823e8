"""What is to be served and where, and why a running server is not that."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi import cores
from greenr_luigi.serving.launch import ASSETS, LIBRARIES, WEB
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.state import ServerNote
from greenr_luigi.staleness import code, libraries, regular, traces


@dataclass(frozen=True)
class Service:
    """What to serve, and where. `port`: 0 for a free one; `workers`: processes, 0 for one a core; `root_path`: the path
    under which a proxy mounts the page; `settings`: texts for web.settings by variable; the environment goes before
    them. `elsewhere`: the address of a server of this store that others start and stop, which makes all but `store`
    theirs; empty where we do."""

    store: Path
    run_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 0
    root_path: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    elsewhere: str = ""

    def untold(self) -> str:
        """What is set, and not told to a server that others start, in words; empty if nothing is."""
        if not (self.elsewhere and self.settings):
            return ""
        return (
            f"[server] of luigi.cfg is not told to {self.elsewhere}, which others start: "
            f"give that {', '.join(sorted(self.settings))} in its own environment"
        )

    def note(self) -> ServerNote:
        """How such a server is started, but for what only a start tells: the port for 0, what it loads, its name."""
        settings = {
            **self.settings,
            **{name: value for name, value in os.environ.items() if name.startswith("GREENR_")},
            "GREENR_ROOT_PATH": self.root_path or None,
            "--web-workers": str(self.workers or "one a core"),
            "Python": f"{platform.python_version()} in {Path(sys.prefix).resolve()}",
        }
        workers = self.workers or cores.allowed()
        return ServerNote(self.host, self.port, workers, str(regular.real(self.store)), settings)


def difference(running: Running, wanted: ServerNote) -> str | None:
    """Why a running server must be replaced by one that is started as wanted, in words; None if it need not be."""
    note = running.note
    if running.user is not None:
        return f"the server (process {running.pid}) belongs to user {running.user}"
    if not note.launch:
        return "the server does not say how it was started: it is of an earlier version"
    if not running.at_home or not same_folder(note.store, wanted.store):
        return "the server's folder was moved, or deleted under it"
    versions = libraries.versions({*note.versions, *LIBRARIES})
    recorded, now = (
        {"--host": one.host, "--port": wanted.port and one.port, **one.settings, **loaded}
        for one, loaded in ((note, note.versions), (wanted, versions))
    )
    cause = traces.entries_changed("the server's", recorded, now) or code.changed(note.code, [WEB])
    for name, folder in ASSETS.items():
        cause = cause or traces.files_changed(name, note.assets.get(name), folder)
    return cause


def same_folder(one: str, other: str) -> bool:
    """Whether two paths lead to one folder, perhaps by a mount."""
    with contextlib.suppress(OSError):
        return Path(one).samefile(other)
    return False
