"""Collecting in one call, for tests."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Request
from tests.progress import quiet


def collect_from(
    source: str, label: str, out: Path, limit: int = 0, folder: Path | None = None, *, query: str = "",
    root: Path | None = None, on_progress: OnProgress = quiet,
) -> dict[str, object]:  # fmt: skip
    """`out` is made if it is not there, and the data root is beside it if none is given."""
    out.mkdir(exist_ok=True)
    request = Request(label, query or label, limit, folder, root or out.parent / "data")
    return collect(registry.find(source), request, out, {}, on_progress)
