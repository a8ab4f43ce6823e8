"""Where a request's microseconds go: our server in this process, one connection from another one, stamps by phase.

    python bench/phases.py --releases data/releases --photos PHOTOS

Prints a Markdown table: CPU and clock of each phase, in 8-bit integers (where a release has them) and in floats;
medians over the requests. The stamps themselves take a microsecond each. "the loop" is what else was used: sockets,
wake-ups, timers.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

#: (clock, CPU of this thread, thread) in seconds.
Stamp = tuple[float, float, int]
#: What a request passes, in order: what is stamped, and what has been done by then.
PHASES = (
    ("begun", ""),
    ("app", "HTTP: a request parsed, its task begun"),
    ("endpoint", "layers: proxy, prefix, headers, id, route"),
    ("classify", "form"),
    ("thread", "to the thread that answers"),
    ("header", "door: kind, limits, trimmings, header"),
    ("decoded", "decoding, to upright sRGB"),
    ("square", "resizing"),
    ("run", "inference"),
    ("answered", "answer: ranking, familiarity"),
    ("resumed", "back to the loop"),
    ("written", "JSON, headers, written to the socket"),
    ("done", "counted and logged"),
)


class Stamps:
    def __init__(self) -> None:
        self.current: dict[str, Stamp] = {}
        self.requests: list[dict[str, Stamp]] = []

    def put(self, name: str) -> None:
        if name == "begun" and "done" in self.current:
            self.requests.append(self.current)
            self.current = {}
        if name != "begun" or name not in self.current:
            self.current[name] = (time.perf_counter(), time.thread_time(), threading.get_ident())

    def wrap(self, owner: Any, name: str, before: str = "", after: str = "") -> None:
        """Stamp each call of a function of a module or class."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def stamped(*given: Any, **named: Any) -> Any:
            if before:
                self.put(before)
            result = function(*given, **named)
            if after:
                self.put(after)
            return result

        @wraps(function)
        async def stamped_later(*given: Any, **named: Any) -> Any:
            if before:
                self.put(before)
            result = await function(*given, **named)
            if after:
                self.put(after)
            return result

        setattr(owner, name, stamped_later if inspect.iscoroutinefunction(function) else stamped)


def stamp_all(stamps: Stamps) -> None:
    """Before the application is made: routes hold their endpoints."""
    from greenr_luigi.pictures import door
    from greenr_luigi.web import api, connection, model
    from greenr_luigi.web.classifier import Classifier

    stamps.wrap(connection.Connection, "data_received", before="begun")
    stamps.wrap(api, "predict", before="endpoint")
    stamps.wrap(Classifier, "classify", before="classify", after="resumed")
    stamps.wrap(model.Model, "answer", before="thread", after="answered")
    stamps.wrap(door, "open_header", after="header")
    stamps.wrap(model, "open_picture", after="decoded")
    stamps.wrap(model, "square", after="square")
    stamps.wrap(model.Model, "run", after="run")
    stamps.wrap(connection.Transport, "send", after="written")


def phases(requests: list[dict[str, Stamp]]) -> dict[str, tuple[float, float]]:
    """Microseconds of CPU and clock of each phase."""
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for request in requests:
        for (name, _), (next_name, told) in itertools.pairwise(PHASES):
            (clock, cpu, thread), (next_clock, next_cpu, next_thread) = request[name], request[next_name]
            # Where the thread changes, its CPU is in "the loop".
            used = next_cpu - cpu if thread == next_thread else 0.0
            found[told].append((used, next_clock - clock))
    return {
        told: (1e6 * statistics.median(u for u, _ in all_), 1e6 * statistics.median(c for _, c in all_))
        for told, all_ in found.items()
    }


def measure(store: Path, folder: Path, photos: Path, int8: bool, seconds: float) -> None:
    """In a process of its own: prints a line of each phase."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    import uvloop

    from greenr_luigi.logs import OneLine, RotatedFile
    from greenr_luigi.web import app, metrics, worker
    from greenr_luigi.web.settings import Settings

    stamps = Stamps()
    stamp_all(stamps)
    metrics.place.take(0)
    handler = RotatedFile(folder / "log", 10 << 20, 2)
    handler.setFormatter(OneLine("%(asctime)s [%(process)d] [%(levelname)s] %(message)s"))
    log = logging.getLogger("greenr")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = False
    made: Any = app.create(Settings(store, folder / "server", int8=int8))

    async def stamped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            stamps.put("app")
        await made(scope, receive, send)
        if scope["type"] == "http":
            stamps.put("done")

    import uvicorn

    config = uvicorn.Config(stamped, log_config=None, **worker.Worker.CONFIG_KWARGS)
    server = worker.Server(config, lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        used: list[float] = []

        def drive() -> None:
            code = (
                "import sys; from pathlib import Path; from load import drive, multipart; p = int(sys.argv[1])\n"
                "photos = sorted(Path(sys.argv[2]).glob('*/*'))[:60]\n"
                "r = [multipart('/api/predict', photo.read_bytes(), p) for photo in photos]\n"
                "print(len(drive(p, r, 1, float(sys.argv[3])).latencies))"
            )
            for wanted in (1.0, seconds):
                stamps.requests.clear()
                before = time.process_time()
                command = [sys.executable, "-c", code, str(port), str(photos), str(wanted)]
                subprocess.run(command, check=True, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL)
                used.append(time.process_time() - before)
            server.should_exit = True

        driving = threading.Thread(target=drive)
        driving.start()
        uvloop.run(server.serve(sockets=[listening]))
        driving.join()
    requests = [one for one in stamps.requests if len(one) == len(PHASES)]
    found = phases(requests)
    total = 1e6 * used[-1] / len(requests)
    clock = 1e6 * statistics.median(one["written"][0] - one["begun"][0] for one in requests)
    found["the loop: sockets, wake-ups, timers"] = (total - sum(cpu for cpu, _ in found.values()), 0.0)
    found["**a request**"] = (total, clock)
    for told, (cpu, waited) in found.items():
        print(f"{told}|{cpu:.0f}|{waited:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--releases", type=Path, required=True, help="a release store")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of folders of small JPEGs")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--precision", choices=("int8", "float32"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.precision:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "server").mkdir()
            measure(given.releases, Path(folder), given.photos, given.precision == "int8", given.seconds)
        return
    columns = {}
    for precision in ("int8", "float32"):
        command = [sys.executable, *sys.argv, "--precision", precision]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        columns[precision] = {line.split("|")[0]: line.split("|")[1:] for line in output.splitlines()}
    print("| phase | int8: CPU µs | clock µs | float32: CPU µs | clock µs |")
    print("|---|---:|---:|---:|---:|")
    for told in columns["int8"]:
        print(f"| {told} | {' | '.join([*columns['int8'][told], *columns['float32'][told]])} |")


if __name__ == "__main__":
    main()
