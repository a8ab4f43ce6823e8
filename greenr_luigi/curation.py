"""What a person decided about pictures: a small text file that recrawls never touch, and a folder of their
own.

`curation.csv` under the data root holds a decision a line, the later ones overruling the earlier:

    action,sha256,label,to,when,comment,look
    reject,5f0c...,,,2026-01-02T10:00:00+00:00,blurred,81c3...
    relabel,91ab...,,grass,2026-01-02T10:01:00+00:00,
    restore,5f0c...,,,2026-01-03T09:00:00+00:00,not that bad
    add,77de...,dandelion,,2026-01-03T09:05:00+00:00,from my garden
    keep,c40d...,,,2026-01-03T09:06:00+00:00,looked at and right

`look` holds the perceptual hashes of what is rejected, by which a copy of it is known when a later search finds one.
Lines may be edited, added and removed by hand; empty ones and those that start with # mean nothing. A picture
added by hand is copied to `added/<label>/` beside the file; nothing of ours deletes it.
"""

from __future__ import annotations

import csv
import datetime
import difflib
import fcntl
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from greenr_luigi import hashing, pictures
from greenr_luigi.hashing import Look
from greenr_luigi.manifest import folder_name

FILE, ADDED = "curation.csv", "added"
COLUMNS = ("action", "sha256", "label", "to", "when", "comment", "look")
ACTIONS = ("reject", "relabel", "restore", "add", "keep")


class CurationError(ValueError):
    """A line of the file, or a picture named to a command, cannot be understood; the message says what was
    expected."""


@dataclass(frozen=True)
class Curation:
    """What holds now: sha256 of rejected pictures, and of relabelled ones with their new label. `looks`: how rejected
    pictures look, and the time (ISO, UTC) since when; `spoken`: sha256 of those kept, relabelled or added."""

    rejected: frozenset[str] = frozenset()
    relabelled: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    looks: Mapping[Look, str] = field(default_factory=lambda: MappingProxyType({}))
    spoken: frozenset[str] = frozenset()


def inputs(root: Path) -> dict[str, Path]:
    """Files and folders that a person's decisions lie in, by the name to call them; they need not exist."""
    return {FILE: root / FILE, ADDED: root / ADDED}


def read(path: Path) -> Curation:
    """The decisions in a file; none if there is no file. Raises CurationError naming line, value and what was
    expected."""
    rejected: dict[str, dict[str, str]] = {}
    relabelled: dict[str, str] = {}
    spoken: set[str] = set()
    for action, sha, record in _decisions(path):
        if action in ("reject", "restore"):
            spoken.discard(sha)
        else:
            spoken.add(sha)
        if action == "reject":
            rejected[sha] = record
        elif action == "relabel":
            relabelled[sha] = record["to"]
        else:
            rejected.pop(sha, None)
            relabelled.pop(sha, None)
    looks = {(r["look"][:16], r["look"][16:]): r["when"] for r in rejected.values() if r["look"]}
    return Curation(
        frozenset(rejected), MappingProxyType(relabelled), MappingProxyType(looks), frozenset(spoken)
    )


def decided(path: Path) -> frozenset[str]:
    """The sha256 of every picture that a decision in a file is about and was not taken back. Raises as `read`."""
    last = {sha: action for action, sha, _ in _decisions(path)}
    return frozenset(sha for sha, action in last.items() if action != "restore")


def _decisions(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Action and sha256 of each line, and the line."""
    for where, record in _records(path):
        action, sha = record["action"].lower(), record["sha256"].lower()
        if action not in ACTIONS:
            near = difflib.get_close_matches(action, ACTIONS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise CurationError(
                f"{where}: the action is {action!r}; expected one of {', '.join(ACTIONS)}{meant}"
            )
        if not re.fullmatch("[0-9a-f]{64}", sha):
            raise CurationError(
                f"{where}: the sha256 is {sha!r}; expected 64 hex digits, as `sha256sum <picture>` prints"
            )
        if action == "relabel" and not record["to"]:
            raise CurationError(f"{where}: relabel without a label; expected the new one in the column `to`")
        if not re.fullmatch("([0-9a-f]{60})?", record["look"]):
            raise CurationError(
                f"{where}: the look is {record['look']!r}; expected 60 hex digits, as `greenr reject` writes them, "
                "or nothing"
            )
        yield action, sha, record


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
    """Take back what was decided about these pictures; items as in `reject`."""
    return _decide(root, "restore", items, comment=comment)


def keep(root: Path, items: Iterable[str | Path], comment: str = "") -> list[str]:
    """Say that these pictures are what they are called, so that nobody is asked again; items as in `reject`."""
    return _decide(root, "keep", items, comment=comment)


def add(root: Path, label: str, file: Path, comment: str = "") -> Path:
    """Copy a picture into a person's own folder, as one of `label`; returns the copy.

    Raises pictures.UnusablePicture if it is none, FileNotFoundError if there is no such file.
    """
    data = file.read_bytes()
    pictures.open_picture(data)
    sha = pictures.sha256(data)
    copy = root / ADDED / folder_name(label) / f"{sha[:16]}{pictures.suffix(data)}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    _write(copy, data)
    _append(root, [{"action": "add", "sha256": sha, "label": label, "comment": comment}])
    return copy


def added(root: Path, label: str) -> list[Path]:
    """The pictures that a person added to a label, by name."""
    folder = root / ADDED / folder_name(label)
    return (
        sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        if folder.is_dir()
        else []
    )


def _decide(root: Path, action: str, items: Iterable[str | Path], **cells: str) -> list[str]:
    found = [_find(root, item) for item in items]
    looks = [look if action == "reject" else "" for _, look in found]
    _append(
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
        return pictures.sha256(data), "".join(hashing.look(data))
    except pictures.UnusablePicture:
        return pictures.sha256(data), ""


def _records(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line that means something, with where it stands; cells stripped, missing ones empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError as error:
        raise CurationError(f"{path} is not text in UTF-8 ({error}): save it as such") from None
    names: tuple[str, ...] = COLUMNS
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}"
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if header := _header(line):
            names = tuple(header)
            if unknown := [name for name in names if name not in COLUMNS]:
                raise CurationError(
                    f"{where}: there is no column {unknown[0]!r}; expected {','.join(COLUMNS)}"
                )
        elif len(cells) < 2 or len(cells) > len(names):
            raise CurationError(
                f"{where}: {len(cells)} cells in {line!r}; expected {','.join(names)}, separated by commas"
            )
        else:
            yield where, dict.fromkeys(COLUMNS, "") | dict(zip(names, cells, strict=False))


def _append(root: Path, rows: list[dict[str, str]]) -> None:
    """Add lines, keeping what stands there byte for byte; the file is replaced at once. Waits for another
    writer."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / FILE
    with (root / f".{FILE}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = path.read_bytes().decode() if path.exists() else ",".join(COLUMNS) + "\n"
        read(path)  # what it cannot read, it does not add to
        new = io.StringIO()
        headers = [_header(line) for line in text.splitlines() if _header(line)] or [list(COLUMNS)]
        names = headers[-1]
        if any(row.get("look") for row in rows) and "look" not in names:
            names = [*names, "look"]
            new.write(",".join(names) + "\n")
        writer = csv.DictWriter(new, names, restval="", extrasaction="ignore", lineterminator="\n")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        # A line break in a comment would make two lines of it.
        writer.writerows(
            {k: " ".join(v.split()) if k == "comment" else v for k, v in row.items()} | {"when": now}
            for row in rows
        )
        _write(path, (text + ("\n" if text and not text.endswith("\n") else "") + new.getvalue()).encode())


def _header(line: str) -> list[str]:
    cells = [cell.strip().lower() for cell in line.lstrip("\ufeff").split(",")]
    return cells if "action" in cells else []


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
