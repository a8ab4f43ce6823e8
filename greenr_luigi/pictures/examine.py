"""From a picture's bytes to the row of the manifest that describes it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from greenr_luigi.kept import CHECKS, Kept, digest_of, versions
from greenr_luigi.pictures import door
from greenr_luigi.pictures.hashing import HASHED_SIDE, perceptual_hash
from greenr_luigi.pictures.manifest import PictureRow
from greenr_luigi.pictures.terms import STRANGERS, TAKEN, Terms
from greenr_luigi.staleness import regular

#: By whose versions a picture may be found to be another, or none. The last is not everywhere.
LIBRARIES = ("numpy", "pillow", "pillow_heif")
#: Of all that looks at a picture, as it was loaded, whatever lies there by the time it runs.
CODE = [(path.name, regular.read(path)) for path in sorted(Path(__file__).parent.glob("*.py"))]
#: As `examine` below.
Examine = Callable[[bytes, str, str, Terms], PictureRow]


class _Found(NamedTuple):
    """What is kept of a picture that was taken."""

    file: str
    dhash: str
    width: int
    height: int
    phash: str


@contextlib.contextmanager
def once(root: Path, tell: Callable[[str], object]) -> Iterator[Examine]:
    """`examine`, by which no picture that was taken is decoded again: what it is stays under the root, by its content
    and the terms. A refusal may be for want of memory or time, and is found out again. `tell` hears of what cannot be
    kept; nothing is kept where `root` is no more than Path(). Several threads may use it."""
    if root == Path():
        yield examine
        return
    with Kept(root / CHECKS, digest_of(CODE, versions(LIBRARIES)), tell) as kept:

        def examine_once(data: bytes, label: str, engine: str, terms: Terms) -> PictureRow:
            sha256 = door.sha256(data)
            content = f"{sha256} {terms.min_side} {terms.own:d}"
            if (known := kept.get(content)) is not None:
                found = msgspec.json.decode(known, type=_Found)
                return PictureRow(
                    **found._asdict(), label=label, sha256=sha256, bytes=len(data), engine=engine
                )
            row = examine(data, label, engine, terms)
            found = _Found(row.file, row.dhash, row.width, row.height, row.phash)
            kept.keep({content: msgspec.json.encode(found)})
            return row

        yield examine_once


def examine(data: bytes, label: str, engine: str, terms: Terms = STRANGERS) -> PictureRow:
    """What the bytes of a picture show of themselves; `file` is the name to give it, made from its content.

    Raises door.UnusablePicture.
    """
    picture = door.read(data, HASHED_SIDE, terms=terms)
    hashes, sha256 = perceptual_hash(picture.image), door.sha256(data)
    file = f"{sha256[:16]}{picture.suffix}"
    return PictureRow(file, label, sha256, hashes.dhash, *picture.size, len(data), engine, phash=hashes.phash)


def examine_file(path: Path, label: str, engine: str, examine: Examine = examine) -> PictureRow:
    """The row of a picture that was taken, under its file's own name. Raises door.UnusablePicture that names it."""
    try:
        return dataclasses.replace(examine(regular.read(path), label, engine, TAKEN), file=path.name)
    except door.UnusablePicture as error:
        raise door.UnusablePicture(error.reason, f"{path}: {error}") from None
