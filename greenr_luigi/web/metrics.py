"""Counters for Prometheus, summed over gunicorn's workers (prometheus_client's multiprocess mode).

A worker counts in mapped files. Where a mapped file has no room on the disk, the kernel ends the process that writes to
it: so a worker's files get all their room before it counts, and without room it does not count. The files are named by
the worker's place among the workers and not by its pid: who takes the place of one that has ended counts on in them, so
that files do not pile up, and sums do not go back.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from greenr_luigi.staleness import regular

log = logging.getLogger("greenr")
#: Where gunicorn's workers count; not set, a process counts for itself.
FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
#: Bytes of a worker's files: all that it can count fits.
ROOM = {"counter": 1 << 20, "histogram": 1 << 18}
#: Seconds until a worker without room looks again.
RETRY = 60.0
#: Methods that are told apart; a visitor may ask by others.
METHODS = ("GET", "HEAD", "POST")


class Place:
    """A worker's place among the workers, from 0, and whether it has room to count there."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.has_room = FOLDER is None
        self.retry_at = -math.inf
        self.lock = threading.Lock()

    def take(self, number: int) -> None:
        """To be called in a new worker."""
        self.number, self.retry_at = number, -math.inf

    def counts(self) -> bool:
        if not self.has_room and self.number is not None and time.monotonic() > self.retry_at:
            with self.lock:
                self.reserve(Path(FOLDER or ""))
        return self.has_room

    def reserve(self, folder: Path) -> None:
        if self.has_room:
            return  # Another thread was quicker.
        try:
            for kind, size in ROOM.items():
                path = folder / f"{kind}_{self.number}.db"
                if not path.exists():
                    _reserve(path, size)
            self.has_room = True
        except OSError as error:
            if self.retry_at == -math.inf:
                log.error("this worker does not count for /metrics until there is room: %s", error)
            self.retry_at = time.monotonic() + RETRY


def _reserve(path: Path, size: int) -> None:
    new = path.with_suffix(".new")
    try:
        with regular.opened(new, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


place = Place()
if FOLDER is not None:
    values.ValueClass = values.MultiProcessValue(lambda: place.number)  # type: ignore[no-untyped-call]

# All have labels: one without would have a value, and so a file, in gunicorn's master.
REQUESTS = Counter("greenr_requests_total", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram(
    "greenr_request_seconds",
    "Seconds from the first byte of a request to the last of its answer",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
PICTURES = Counter("greenr_pictures_total", "Pictures by what became of them", ["outcome"])
SWAPS = Counter("greenr_swaps_total", "Models loaded by workers", ["precision"])
STARTS = Counter("greenr_worker_starts_total", "Workers started, by their place", ["worker"])


def count_request(route: str, method: str, status: int, seconds: float) -> None:
    if place.counts():
        requests, took = _of_requests(route, method if method in METHODS else "other", status)
        requests.inc()
        took.observe(seconds)


@functools.cache
def _of_requests(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """To find them by their labels takes longer than to count."""
    return REQUESTS.labels(route, method, str(status)), SECONDS.labels(route)


def count(counter: Counter, label: str) -> None:
    """One more of PICTURES, SWAPS or STARTS."""
    if place.counts():
        _labelled(counter, label).inc()


@functools.cache
def _labelled(counter: Counter, label: str) -> Counter:
    return counter.labels(label)


class Told(Collector):
    """What is not counted here."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def text(more: Iterable[Metric] = ()) -> bytes:
    """All workers' counters where gunicorn set a folder for them, else this process's; and `more`."""
    registry = CollectorRegistry()
    registry.register(Told(more))
    if FOLDER is None:
        return generate_latest() + generate_latest(registry)
    if Path(FOLDER).is_dir():  # It may have been deleted.
        MultiProcessCollector(registry, FOLDER)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
