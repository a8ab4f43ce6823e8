"""Outputs that are no more than their stamps, for tests of what reads stamps alone."""

import fcntl
from pathlib import Path
from typing import Any

from greenr_luigi.staleness import data_root
from greenr_luigi.staleness.output_folder import atomic_folder, lock
from greenr_luigi.staleness.stamp import Stamp


def finish(root: Path, title: str, number: int, word: str = "", **fields: Any) -> Path:
    """An output finished `number` seconds after 1970, under that name in twelve digits; returns the link to it."""
    data_root.mark(root)
    link = root / title.split("(")[0] / f"{word}{number:012}"
    tables = ("parameters", "inputs", "reads", "code", "libraries", "summary", "files")
    defaults = {name: {} for name in tables}
    times = {"started": 0.0, "finished": float(number)}
    texts = {"title": title, "because": "", "host": "", "digest": f"{title} {number}"}
    with lock(link, fcntl.LOCK_EX, print), atomic_folder(link) as folder:
        Stamp(**{**defaults, **times, **texts, **fields}).write(folder)
    return link


def made_from(*links: Path) -> dict[str, dict[str, object]]:
    """The `inputs` of the stamp of an output that was made from these."""
    stamps = [Stamp.read(link) for link in links]
    return {stamp.title: {"digest": stamp.digest, "summary": {}} for stamp in stamps}
