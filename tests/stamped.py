"""Outputs that are no more than their stamps, for tests of what reads stamps alone."""

from pathlib import Path
from typing import Any

from greenr_luigi.staleness.stamp import Stamp


def finish(root: Path, title: str, number: int, **fields: Any) -> Path:
    """An output finished `number` seconds after 1970, under that name; returns the link to it."""
    link = root / title.split("(")[0] / str(number)
    folder = link.with_name(f".{number}.folder")
    folder.mkdir(parents=True)
    link.symlink_to(folder.name)
    tables = ("parameters", "inputs", "reads", "code", "libraries", "summary", "files")
    defaults = {name: {} for name in tables}
    times = {"started": 0.0, "finished": float(number)}
    texts = {"title": title, "because": "", "host": "", "digest": f"{title} {number}"}
    Stamp(**{**defaults, **times, **texts, **fields}).write(folder)
    return link


def made_from(*links: Path) -> dict[str, dict[str, object]]:
    """The `inputs` of the stamp of an output that was made from these."""
    stamps = [Stamp.read(link) for link in links]
    return {stamp.title: {"digest": stamp.digest, "summary": {}} for stamp in stamps}
