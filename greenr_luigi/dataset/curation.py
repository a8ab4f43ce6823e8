"""What a person does about pictures: each deed is a line of `curation.csv` (decisions.py), and a picture that they add
is copied to `added/<label>/` beside it; nothing of ours deletes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.dataset.decisions import ADDED, CurationError, append
from greenr_luigi.pictures import door, hashing
from greenr_luigi.pictures.manifest import folder_name


def reject(root: Path, items: Iterable[str | Path], comment: str = "") -> list[str]:
    """Keep these pictures out of the data set, also when they, or copies saved anew, are found again. An item is a
    picture's file, its sha256, or the first 16 digits of that, as in the file names under `root`. Returns the sha256
    of each."""
    return _decide(root, "reject", items, comment=comment)


def relabel(root: Path, label: str, items: Iterable[str | Path], comment: str = "") -> list[str]:
    """Give these pictures another label; items as in `reject`."""
    folder_name(label)
    return _decide(root, "relabel", items, to=label, comment=comment)


def restore(root: Path, items: Iterable[str | Path], comment: str = "") -> list[str]:
    """Take back what was decided about these pictures, or that they were added, if nothing was decided since: the data
    set then does without them. Items as in `reject`."""
    return _decide(root, "restore", items, comment=comment)


def keep(root: Path, items: Iterable[str | Path], comment: str = "") -> list[str]:
    """Say that these pictures are what they are called, so that nobody is asked again; items as in `reject`."""
    return _decide(root, "keep", items, comment=comment)


def add(root: Path, label: str, file: Path, comment: str = "") -> Path:
    """Copy a picture into a person's own folder, as one of `label`; returns the copy.

    Raises door.UnusablePicture if it is none, FileNotFoundError if there is no such file.
    """
    data = file.read_bytes()
    door.open_picture(data)
    sha = door.sha256(data)
    copy = root / ADDED / folder_name(label) / f"{sha[:16]}{door.suffix(data)}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    files.write(copy, data)
    append(root, [{"action": "add", "sha256": sha, "label": label, "comment": comment}])
    return copy


def _decide(root: Path, action: str, items: Iterable[str | Path], **cells: str) -> list[str]:
    found = [_find(root, item) for item in items]
    looks = [look if action == "reject" else "" for _, look in found]
    append(
        root,
        [
            {"action": action, "sha256": sha, "look": look, **cells}
            for (sha, _), look in zip(found, looks, strict=True)
        ],
    )
    return [sha for sha, _ in found]


def _find(root: Path, item: str | Path) -> tuple[str, str]:
    """A picture's sha256 and look, the look empty if the picture lies nowhere here. Raises CurationError if nothing,
    or more than one picture, goes by that name."""
    path, name = Path(item), Path(item).stem.lower()
    for place in (path, root / path):
        if place.is_file():
            return _seen(place)
    if not re.fullmatch("[0-9a-f]{16,64}", name):
        raise CurationError(
            f"{item} is no file and no sha256: give a picture's path or at least 16 digits of its sha256"
        )
    known = _known(root)
    if len(name) == 64:
        return name, known.get(name, "")
    found = [sha for sha in known if sha.startswith(name)]
    if len(found) != 1:
        raise CurationError(
            f"{item} names {len(found)} of the {len(known)} pictures under {root}: give its whole sha256"
        )
    return found[0], known[found[0]]


def _known(root: Path) -> dict[str, str]:
    """The look of every picture that lies under the root, by sha256."""
    known = {}
    for path in root.glob("DownloadImages/*/manifest.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[row["sha256"]] = row["dhash"] + row["phash"]
    for path in root.glob(f"{ADDED}/*/*"):
        if path.is_file():
            sha, look = _seen(path)
            known[sha] = look
    return known


def _seen(path: Path) -> tuple[str, str]:
    """The sha256 and look of a file; what is no picture looks like nothing, and may be rejected all the same."""
    data = path.read_bytes()
    try:
        return door.sha256(data), "".join(hashing.look(data))
    except door.UnusablePicture:
        return door.sha256(data), ""
