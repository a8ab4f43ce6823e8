"""What a person does about pictures: each deed is a line of `curation.csv` (decisions.py), and a picture that they add
is copied to `added/<label>/` beside it; nothing of ours deletes it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from greenr_luigi import files
from greenr_luigi.contracts import read_log
from greenr_luigi.dataset.decisions import ADDED, Curation, CurationError, append
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import Examine, examine, examine_file, once
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, read_jsonl
from greenr_luigi.pictures.terms import TAKEN, Terms
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.traces import file_sha256


class Decision(NamedTuple):
    """About a picture. `action`: of decisions.ACTIONS; `look`: its perceptual hashes as one text, for "reject", where
    they are known; `to`: what it is to be called, for "relabel"."""

    action: str
    sha256: str
    look: str = ""
    to: str = ""


class Added(NamedTuple):
    """A picture in the person's own folder. `is_new`: it did not lie there before; `lines`: those of curation.csv."""

    copy: Path
    is_new: bool
    lines: str


def reject(root: Path, items: Iterable[str | Path]) -> str:
    """Keep these pictures out of the data set, also when they, or copies saved anew, are found again. An item is a
    picture's file, its sha256, or the first 16 digits of that, as in the file names under `root`. Returns the lines
    that were added to curation.csv."""
    return _decide(root, "reject", items)


def relabel(root: Path, label: str, items: Iterable[str | Path]) -> str:
    """Give these pictures another label; items and result as in `reject`."""
    folder_name(label)
    return _decide(root, "relabel", items, to=label)


def restore(root: Path, items: Iterable[str | Path]) -> str:
    """Take back what was decided about these pictures, or that they were added, if nothing was decided since: the data
    set then does without them. Items and result as in `reject`."""
    return _decide(root, "restore", items)


def keep(root: Path, items: Iterable[str | Path]) -> str:
    """Say that these pictures are what they are called, so that nobody is asked again; items and result as in
    `reject`."""
    return _decide(root, "keep", items)


def add(root: Path, label: str, file: Path, comment: str = "", terms: Terms = TAKEN) -> Added:
    """Copy a picture into a person's own folder, as one of `label`, and say so in curation.csv: both or neither.

    Raises as `picture`, and CurationError if another file has its name.
    """
    data, row = picture(file, label, terms)
    copy = root / ADDED / folder_name(label) / row.file
    files.refuse_strange_link(root / ADDED, copy.parent)
    if is_new := not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.write(copy, data)
    elif file_sha256(copy) != row.sha256:
        raise CurationError(f"{copy} is another picture, by the name that this one would get: rename it")
    cells = {"action": "add", "sha256": row.sha256, "label": label, "comment": comment}
    try:
        return Added(copy, is_new, append(root, [cells]))
    except BaseException:
        if is_new:
            copy.unlink()
        raise


def picture(file: Path, label: str, terms: Terms) -> tuple[bytes, PictureRow]:
    """Raises door.UnusablePicture if a file is none, CurationError if it cannot be read."""
    try:
        data = regular.read(file)
    except OSError as error:
        raise CurationError(f"{file} cannot be read ({error.strerror}): give a picture's file") from None
    return data, examine(data, label, ADDED, terms)


def decide(
    root: Path,
    decisions: Iterable[Decision],
    check: Callable[[Curation], object] = lambda now: None,
) -> str:
    """Take down many decisions at once, all or none of them. Returns the lines that were added to curation.csv; `check`
    and what is raised: as of decisions.append."""
    rows = [decision._asdict() for decision in decisions]
    rejections = [row for row in rows if row["action"] == "reject"]
    newest = _newest(root) if rejections else ""
    for row in rejections:
        row["newest"] = newest
    return append(root, rows, check)


def _decide(root: Path, action: str, items: Iterable[str | Path], to: str = "") -> str:
    known = functools.cache(lambda: _known(root))
    found = [_find(root, item, known) for item in items]
    # A copy of what is rejected is known by its look.
    looks = action == "reject"
    return decide(root, [Decision(action, sha256, look * looks, to) for sha256, look in found])


def _find(root: Path, item: str | Path, all_known: Callable[[], Mapping[str, str]]) -> tuple[str, str]:
    """A picture's sha256 and perceptual hashes, these empty if the picture lies nowhere here. Raises CurationError if
    nothing, or more than one picture, goes by that name."""
    path, name = Path(item), Path(item).stem.lower()
    for file in (path, root / path):
        if file.is_file():
            return _hashes(file)
    if not re.fullmatch("[0-9a-f]{16,64}", name):
        raise CurationError(
            f"{item} is no file and no sha256: give a picture's path or at least 16 digits of its sha256"
        )
    known = all_known()
    if len(name) == 64:
        return name, known.get(name, "")
    matching = [sha256 for sha256 in known if sha256.startswith(name)]
    if len(matching) != 1:
        raise CurationError(
            f"{item} names {len(matching)} of the {len(known)} pictures under {root}: give its whole sha256"
        )
    return matching[0], known[matching[0]]


def _newest(root: Path) -> str:
    """When the last of all pictures from the web came, by what they say themselves; empty if there are none."""
    paths = root.glob(f"*/*/{MANIFEST}")
    return max((row.fetched or "" for path in paths for row in read_log(path, PictureRow)), default="")


def _known(root: Path) -> dict[str, str]:
    """The perceptual hashes of every picture that lies under the root, by sha256."""
    rows = [row for path in root.glob(f"*/*/{MANIFEST}") for row in read_jsonl(path, PictureRow)]
    files = [path for path in root.glob(f"{ADDED}/*/*") if path.is_file()]
    # A root that is none is not made for what is asked of it.
    with once(root if files else Path(), lambda words: None) as examine:
        added = [_hashes(path, examine) for path in files]
    return {row.sha256: "".join(row.perceptual_hash) for row in rows} | dict(added)


def _hashes(path: Path, examine: Examine = examine) -> tuple[str, str]:
    """The sha256 and perceptual hashes of a file. What is no picture has none, and may be rejected all the same."""
    try:
        row = examine_file(path, "", "", examine)
    except door.UnusablePicture:
        return file_sha256(path), ""
    return row.sha256, "".join(row.perceptual_hash)
