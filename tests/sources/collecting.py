"""Collecting in one call, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Request
from tests.progress import quiet
from tests.sources.conftest import Answer, Internet, Query

#: Of a picture of the internet's, by its number.
URL = "https://pictures.example/{}.jpg"
COLLECT = """
import sys
from pathlib import Path
from tests.sources.collecting import collect_from
collect_from("urls", "grass", Path(sys.argv[1]) / "killed", 0, Path(sys.argv[1]))
"""


def collect_from(
    source: str, label: str, out: Path, limit: int = 0, folder: Path | None = None, *, query: str = "",
    root: Path | None = None, on_progress: OnProgress = quiet,
) -> dict[str, object]:  # fmt: skip
    """`out` is made if it is not there, and the data root is beside it if none is given."""
    out.mkdir(exist_ok=True)
    request = Request(label, query or label, limit, folder, root or out.parent / "data")
    return collect(registry.find(source), request, out, {}, on_progress)


def kill_collecting(
    internet: Internet, folder: Path, numbers: Sequence[int], wait: Callable[[], None], before: str = ""
) -> None:
    """The pictures of these numbers are collected, as a list in the folder, by another process, which is killed while
    it waits for the last of them, after a `wait`. `before`: code that it runs first."""
    (folder / "grass.txt").write_text("\n".join(map(URL.format, numbers)))
    process: subprocess.Popen[bytes] | None = None
    own = internet.hosts["pictures.example"]

    def host(path: str, query: Query) -> Answer:
        if path == f"/{numbers[-1]}.jpg" and process:
            wait()
            process.send_signal(signal.SIGKILL)
        return own(path, query)

    internet.hosts["pictures.example"] = host
    process = subprocess.Popen(
        [sys.executable, "-c", before + COLLECT, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.wait(120) == -signal.SIGKILL
    process = None
    assert sorted(internet.asked) == sorted(map(URL.format, numbers))
    internet.asked.clear()
