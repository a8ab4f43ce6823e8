"""Collecting in one call, for tests."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.progress import OnProgress, quiet
from greenr_luigi.sources import registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Request


def collect_from(
    source: str, label: str, out: Path, limit: int = 0, folder: Path | None = None, *, query: str = "",
    root: Path = Path(), earlier: Path | None = None, search_again: bool = True, on_progress: OnProgress = quiet,
) -> dict[str, object]:  # fmt: skip
    """`out` is made if it is not there. The counts without the time of the search."""
    out.mkdir(exist_ok=True)
    request = Request(label, query or label, limit, folder, root)
    counts = collect(registry.find(source), request, out, earlier, search_again, on_progress)
    return {name: count for name, count in counts.items() if name != "searched"}
