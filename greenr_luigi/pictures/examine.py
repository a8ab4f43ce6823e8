"""From a picture's bytes to the row of the manifest that describes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from greenr_luigi.pictures import door
from greenr_luigi.pictures.hashing import HASHED_SIDE, perceptual_hash
from greenr_luigi.pictures.manifest import PictureRow
from greenr_luigi.pictures.terms import STRANGERS, TAKEN, Terms
from greenr_luigi.staleness import regular


def examine(data: bytes, label: str, engine: str, terms: Terms = STRANGERS) -> PictureRow:
    """What the bytes of a picture show of themselves; `file` is the name to give it, made from its content.

    Raises door.UnusablePicture.
    """
    picture = door.read(data, HASHED_SIDE, terms=terms)
    hashes, sha256 = perceptual_hash(picture.image), door.sha256(data)
    file = f"{sha256[:16]}{picture.suffix}"
    return PictureRow(file, label, sha256, hashes.dhash, *picture.size, len(data), engine, phash=hashes.phash)


def examine_file(path: Path, label: str, engine: str) -> PictureRow:
    """The row of a picture that was taken, under its file's own name. Raises door.UnusablePicture that names it."""
    try:
        return dataclasses.replace(examine(regular.read(path), label, engine, TAKEN), file=path.name)
    except door.UnusablePicture as error:
        raise door.UnusablePicture(error.reason, f"{path}: {error}") from None
