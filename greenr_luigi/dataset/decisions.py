"""What a person decided about pictures: a small text file that recrawls never touch, and a folder of their own,
`added/<label>/` beside it. curation.py writes them.

`curation.csv` under the data root holds a decision a line; of each picture the last line holds:

    action,sha256,label,to,when,comment,look,newest
    reject,5f0c...,,,2026-01-02T10:00:00+00:00,blurred,81c3...,2025-12-24T18:00:00+00:00
    relabel,91ab...,,grass,2026-01-02T10:01:00+00:00,
    restore,5f0c...,,,2026-01-03T09:00:00+00:00,not that bad
    add,77de...,dandelion,,2026-01-03T09:05:00+00:00,from my garden
    keep,c40d...,,,2026-01-03T09:06:00+00:00,looked at and right

`look` holds the perceptual hashes of what is rejected, by which a copy of it is known when a later search finds one;
`newest` is when the newest picture from the web had come by then: `when` may be told by a clock that is wrong.
Lines may be edited, added and removed by hand; empty ones and those that start with # mean nothing.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi import shared_files, tables
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.labels import LabelError, folder_name
from greenr_luigi.pictures.manifest import PerceptualHash
from greenr_luigi.staleness import regular
from greenr_luigi.text import did_you_mean

FILE, ADDED = "curation.csv", "added"
COLUMNS = ("action", "sha256", "label", "to", "when", "comment", "look", "newest")
ACTIONS = ("reject", "relabel", "restore", "add", "keep")


SHA256, LOOK = re.compile("[0-9a-f]{64}"), re.compile("([0-9a-f]{60})?")

#: The cells of a line by column; what it lacks is empty.
Record = dict[str, str]


class CurationError(GreenrError):
    """A line of the file, or a picture named to a command, cannot be understood; the message says what was
    expected."""


@dataclass
class Curation:
    """What holds now of pictures, by their sha256."""

    rejected: set[str] = field(default_factory=set)
    #: With the new label.
    relabelled: dict[str, str] = field(default_factory=dict)
    #: Kept, relabelled or added.
    confirmed: set[str] = field(default_factory=set)
    #: Added and then taken back: `restore` takes back what was said since, and only then that a picture was added.
    withdrawn: set[str] = field(default_factory=set)
    #: They are what they are called.
    kept: set[str] = field(default_factory=set)
    #: All that a decision is about and that was not taken back.
    decided: set[str] = field(default_factory=set)
    #: Of rejected pictures, with the time (ISO, UTC) after which a copy has come since.
    rejected_hashes: dict[PerceptualHash, str] = field(default_factory=dict)


def read_curation(path: Path) -> Curation:
    """The decisions in a file; none if there is no file. Raises CurationError naming line, value and what was
    expected."""
    return _sum(_records(path))


def _sum(records: Iterable[Record]) -> Curation:
    now, added = Curation(), set[str]()
    last: dict[str, Record] = {}
    for record in records:
        action, sha256 = record["action"], record["sha256"]
        if action == "restore" and sha256 in added and last[sha256]["action"] in ("add", "restore"):
            now.withdrawn.add(sha256)
        elif action not in ("reject", "restore"):
            now.withdrawn.discard(sha256)
        if action == "add":
            added.add(sha256)
        last[sha256] = record
    by_action = {name: {sha256 for sha256, one in last.items() if one["action"] == name} for name in ACTIONS}
    now.rejected, now.kept = by_action["reject"], by_action["keep"]
    now.relabelled = {sha256: last[sha256]["to"] for sha256 in by_action["relabel"]}
    now.decided = last.keys() - by_action["restore"]
    now.confirmed = now.decided - now.rejected
    for record in last.values():
        if record["action"] == "reject" and (look := record["look"]):
            now.rejected_hashes[PerceptualHash(look[:16], look[16:])] = record["newest"] or record["when"]
    return now


def added_files(root: Path, label: str) -> list[Path]:
    """The pictures that a person added to a label, by name."""
    folder = root / ADDED / folder_name(label)
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def append(root: Path, rows: Iterable[Record], check: Callable[[Curation], object] = lambda now: None) -> str:
    """Add a line a decision, all or none of them, keep what stands there byte for byte, and return the lines. Raises
    LabelError for what can be no label, CurationError if what stands there cannot be read, or the lines would not be
    read as they are meant, and whatever `check` does, which gets what holds before; nobody changes it meanwhile."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / FILE
    empty = dict.fromkeys(COLUMNS, "") | {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    }
    records = [empty | row for row in rows]
    for label in (record[column] for record in records for column in ("label", "to") if record[column]):
        folder_name(label)
    added = ""

    def lines(old: bytes) -> bytes:
        nonlocal added
        standing, columns = _parse(path, old)
        check(_sum(standing))
        lacking = [
            name for name in COLUMNS if name not in columns and any(record[name] for record in records)
        ]
        header = _line([*columns, *lacking])
        added = "".join(_line([record[name] for name in (*columns, *lacking)]) for record in records)
        if _parse(path, (header + added).encode())[0] != records:
            raise CurationError(f"{path}: {added!r} would be read as something else: use plainer words")
        return ((header if lacking or not old else "") + added).encode()

    shared_files.append(path, lines)
    return added


def take_back(root: Path, lines: str) -> bool:
    """Remove what `append` returned, as if it had never been said. Lines that a person has edited since stay; whether
    all was there to be removed."""
    at = -1

    def change(old: bytes) -> bytes:
        nonlocal at
        # Whole lines: what a person has put before the first one, such as "# ", is an edit.
        at = (b"\n" + old).rfind(b"\n" + lines.encode())
        return old if at < 0 else old[:at] + old[at + len(lines.encode()) :]

    if (root / FILE).exists():
        shared_files.update(root / FILE, change)
    return at >= 0


def says_added(root: Path, sha256: str, label: str) -> bool:
    """Whether a line says that this picture was added to the label. Raises CurationError as `read_curation` does."""
    records = _records(root / FILE)
    about = [(record["action"], record["sha256"]) for record in records if record["label"] in ("", label)]
    return ("add", sha256) in about


def _line(cells: Sequence[str]) -> str:
    # Unquoted, it would make a comment of the line.
    return tables.line(cells, csv.QUOTE_ALL if cells[0].startswith("#") else csv.QUOTE_MINIMAL)


def _records(path: Path) -> list[Record]:
    return _parse(path, regular.read(path))[0] if path.exists() else []


def _parse(path: Path, content: bytes) -> tuple[list[Record], list[str]]:
    """The decisions, and the columns of whatever is added."""
    records, columns = list[Record](), [*COLUMNS]
    try:
        lines = re.split("\r\n|\r|\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CurationError(f"{path} is not text in UTF-8 ({error}): save it as such") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(tables.rows([line]))]
            if names := _header(cells):
                columns = names
            else:
                records.append(_decision(columns, cells))
        except (ValueError, LabelError, csv.Error) as fault:
            raise CurationError(f"{path}, line {number}: {fault}") from None
    return records, columns


def _header(cells: Sequence[str]) -> list[str]:
    """The columns, if this is a line of their names. A label may be called `action`, too, but a decision has a
    sha256."""
    names = [cell.lower() for cell in cells]
    if "action" not in names or any(map(SHA256.fullmatch, names)):
        return []
    if unknown := [name for name in names if name not in COLUMNS]:
        raise ValueError(f"there is no column {unknown[0]!r}; expected {','.join(COLUMNS)}")
    return names


def _decision(columns: Sequence[str], cells: Sequence[str]) -> Record:
    """Raises ValueError or LabelError for what is none."""
    if not 2 <= len(cells) <= len(columns):
        raise ValueError(
            f"{len(cells)} cells in {','.join(cells)!r}; expected {','.join(columns)}, separated by commas"
        )
    record = dict.fromkeys(COLUMNS, "") | dict(zip(columns, cells, strict=False))
    action, sha256 = record["action"].lower(), record["sha256"].lower()
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}: {did_you_mean(action, ACTIONS)}")
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 is {sha256!r}; expected 64 hex digits, as `sha256sum <picture>` prints")
    if action == "relabel" and not record["to"]:
        raise ValueError("relabel without a label; expected the new one in the column `to`")
    if record["to"]:
        folder_name(record["to"])
    if not LOOK.fullmatch(record["look"]):
        raise ValueError(
            f"the look is {record['look']!r}; expected 60 hex digits, as `greenr reject` writes them, or nothing"
        )
    return record | {"action": action, "sha256": sha256}
