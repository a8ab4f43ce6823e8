"""Counters for Prometheus, summed over gunicorn's workers (prometheus_client's multiprocess mode)."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter("greenr_requests_total", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram(
    "greenr_request_seconds",
    "Seconds from the first byte of a request to the last of its answer",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
PICTURES = Counter("greenr_pictures_total", "Pictures by what became of them", ["outcome"])
SWAPS = Counter("greenr_swaps_total", "Models loaded by workers")


def text() -> bytes:
    """All workers' metrics where gunicorn set a folder for them, else this process's."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
