"""Where all pictures that ever came from the web lie; `store` says how. Imports nothing heavy, since it is asked for in
runs that have nothing to do."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.pictures.labels import folder_name

FOLDER, ORIGINS = "collected", "origins.jsonl"


def folder(root: Path, label: str) -> Path:
    """That of a class, whether it is there or not."""
    return root / FOLDER / folder_name(label)


def folders(root: Path) -> list[Path]:
    """The folder of each class that has ever got a picture from the web."""
    return sorted(path.parent for path in (root / FOLDER).glob(f"*/{ORIGINS}"))
