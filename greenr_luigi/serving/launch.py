"""Gunicorn started as a daemon, and why it was not, if it was not."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.about import PACKAGE, STATIC, TEMPLATES
from greenr_luigi.serving.processes import LOG, NOTE
from greenr_luigi.serving.sockets import ServerError, listen
from greenr_luigi.serving.state import ServerNote
from greenr_luigi.staleness import code, libraries, regular, traces

#: The package whose code a server loads; and libraries that it does not import: a command, and what uvicorn and
#: starlette load where it is installed.
WEB = "greenr_luigi.web"
LIBRARIES = ("gunicorn", "httptools", "python-multipart", "uvloop")
#: The files that it loads besides, by what to call them.
ASSETS = {"the page's assets": STATIC, "the page's templates": TEMPLATES}
#: What the folder of a server's counters is called: "metrics-" and the nanoseconds since 1970.
LAUNCH = re.compile("metrics-[0-9]+")
#: The variable with the number of the bound socket; gunicorn's own --bind would listen before a worker can answer.
SOCKET = "GREENR_SOCKET"
#: Bytes without which a server could not say what it serves.
ROOM = 1 << 17
#: Lines of the log in a message, of the last so many bytes.
TAIL, MOST_READ = 25, 1 << 20
#: Variables that would change what gunicorn is told.
NOT_PASSED_ON = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "LISTEN_FDS", "LISTEN_PID", "GUNICORN_FD", "PORT")


def launch(run_dir: Path, note: ServerNote, timeout: float, shared: bool) -> ServerNote:
    """Start gunicorn as `note` says (port 0 for a free one). The socket is bound here, so that a taken port is known at
    once. Returns the note with what gunicorn has been given besides; what becomes of it, `processes` tells.

    `timeout` in seconds. `shared`: as in `listen`. Raises ServerError, whose message ends with the end of the log, and
    OSError if the disk is full.
    """
    for path in (run_dir / LOG, run_dir / "workers"):
        if path.is_symlink():
            raise ServerError(f"{path} is a link, and what a server writes would go elsewhere: remove it")
    if shutil.disk_usage(run_dir).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir))
    note = replace(as_loaded(note), launch=name())
    with listen(note.host, note.port, shared) as listening:
        note = replace(note, port=listening.getsockname()[1])
        for folder in ("workers", note.launch):
            files.private_folder(run_dir / folder)
        with regular.opened(run_dir / LOG, "ab") as log:
            files.make_private(run_dir / LOG)
            note = replace(note, logged=log.tell())
            try:
                # It ends when the daemon has been forked.
                subprocess.run(
                    [*command(note, str(run_dir / LOG)), "--daemon", "--enable-stdio-inheritance"],
                    check=True,
                    timeout=timeout,
                    # gunicorn imports from where it is started before all else, and many may write in run_dir.
                    cwd=PACKAGE.parent,
                    env={**environment(run_dir, note), SOCKET: str(listening.fileno())},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=[listening.fileno()],
                )
            except subprocess.SubprocessError:
                raise ServerError(f"gunicorn did not start{log_end(run_dir, note)}") from None
    return note


def as_loaded(note: ServerNote) -> ServerNote:
    """The note of a server that loads its code, libraries and the page's files now."""
    sources = code.sources([WEB])
    return replace(
        note,
        code=code.snapshot(sources),
        versions=libraries.versions({*libraries.imported(sources), *LIBRARIES}),
        assets={name: traces.snapshot(folder) for name, folder in ASSETS.items()},
    )


def name() -> str:
    """Of a start."""
    return f"metrics-{time.time_ns()}"


def command(note: ServerNote, log: str) -> list[str]:
    """`log`: the file for it; "-" for standard error."""
    return [
        *(sys.executable, "-m", "gunicorn", "-c", "python:greenr_luigi.web.gunicorn_conf"),
        *("--log-file", log, "--workers", str(note.workers)),
    ]


def environment(run_dir: Path, note: ServerNote) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
        **{name: value for name, value in note.settings.items() if name.startswith("GREENR_") and value},
        NOTE: json.dumps(asdict(note)),
        "GREENR_STORE": note.store,
        "GREENR_RUN_DIR": str(run_dir),
        "GREENR_ROOT_PATH": note.settings["GREENR_ROOT_PATH"] or "",
        # It goes by the name that it listens on.
        "GREENR_ALLOWED_HOSTS": f"{note.settings.get('GREENR_ALLOWED_HOSTS') or ''},{note.host}",
        "PROMETHEUS_MULTIPROC_DIR": str(run_dir / note.launch),
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *python_path()]),
        "PYTHONSAFEPATH": "1",
        # One worker a core; what a library would start besides only takes memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        # glibc would give each picture's memory back to the system, which clears all of it for the next one: a hundred
        # page faults a picture. A worker gives it back itself when it has nothing to do; what is larger goes at once.
        "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
        "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
    }


def python_path() -> list[str]:
    """PYTHONPATH, made absolute: in another folder a relative entry is another one."""
    given = os.environ.get("PYTHONPATH")
    return [str(Path(entry).absolute()) for entry in given.split(os.pathsep)] if given else []


def log_end(run_dir: Path, note: ServerNote) -> str:
    """What went wrong in a server, by the end of the log, as the end of a message."""
    try:
        with regular.opened(run_dir / LOG) as log:
            end = log.seek(0, os.SEEK_END)
            # It may have been rotated since.
            begin = note.logged if note.logged <= end else 0
            log.seek(max(begin, end - MOST_READ))
            text = log.read().decode(errors="replace")
    except OSError:
        return "; there is no log"
    # The requests that the one before answers meanwhile are passed over.
    lines = [line for line in text.splitlines() if " [INFO] " not in line]
    return "\n".join([f"; the end of {run_dir / LOG}:", *lines[-TAIL:]])
