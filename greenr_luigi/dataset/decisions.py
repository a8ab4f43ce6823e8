"""What a person decided about pictures: a small text file that recrawls never touch, and a folder of their own,
`added/<label>/` beside it. curation.py writes them.

`curation.csv` under the data root holds a decision a line, the later ones overruling the earlier:

    action,sha256,label,to,when,comment,look
    reject,5f0c...,,,2026-01-02T10:00:00+00:00,blurred,81c3...
    relabel,91ab...,,grass,2026-01-02T10:01:00+00:00,
    restore,5f0c...,,,2026-01-03T09:00:00+00:00,not that bad
    add,77de...,dandelion,,2026-01-03T09:05:00+00:00,from my garden
    keep,c40d...,,,2026-01-03T09:06:00+00:00,looked at and right

`look` holds the perceptual hashes of what is rejected, by which a copy of it is known when a later search finds one.
Lines may be edited, added and removed by hand; empty ones and those that start with # mean nothing.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import fcntl
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.pictures.manifest import PerceptualHash
from greenr_luigi.text import did_you_mean

FILE, ADDED = "curation.csv", "added"
COLUMNS = ("action", "sha256", "label", "to", "when", "comment", "look")
ACTIONS = ("reject", "relabel", "restore", "add", "keep")


class CurationError(GreenrError):
    """A line of the file, or a picture named to a command, cannot be understood; the message says what was
    expected."""


@dataclass
class Curation:
    """What holds now of pictures, by their sha256."""

    rejected: set[str] = field(default_factory=set)
    #: With the new label.
    relabelled: dict[str, str] = field(default_factory=dict)
    #: Kept, relabelled or added, and not rejected since.
    confirmed: set[str] = field(default_factory=set)
    #: Added and then taken back: `restore` takes back what was said since, and only then that a picture was added.
    withdrawn: set[str] = field(default_factory=set)
    #: All that a decision is about and that was not taken back.
    decided: set[str] = field(default_factory=set)
    #: Of rejected pictures, with the time of that (ISO, UTC).
    rejected_hashes: dict[PerceptualHash, str] = field(default_factory=dict)


def read_curation(path: Path) -> Curation:
    """The decisions in a file; none if there is no file. Raises CurationError naming line, value and what was
    expected."""
    now, added = Curation(), set[str]()
    last: dict[str, str] = {}
    rejections: dict[str, dict[str, str]] = {}
    for action, sha256, record in _decisions(path):
        if action == "restore" and sha256 in added and last[sha256] in ("add", "restore"):
            now.withdrawn.add(sha256)
        if action in ("reject", "restore"):
            now.confirmed.discard(sha256)
        else:
            now.confirmed.add(sha256)
            now.withdrawn.discard(sha256)
        if action == "add":
            added.add(sha256)
        if action == "reject":
            rejections[sha256] = record
        elif action == "relabel":
            now.relabelled[sha256] = record["to"]
        else:
            rejections.pop(sha256, None)
            now.relabelled.pop(sha256, None)
        last[sha256] = action
    now.rejected = set(rejections)
    now.decided = {sha256 for sha256, action in last.items() if action != "restore"}
    for record in rejections.values():
        if look := record["look"]:
            now.rejected_hashes[PerceptualHash(look[:16], look[16:])] = record["when"]
    return now


def added_files(root: Path, label: str) -> list[Path]:
    """The pictures that a person added to a label, by name."""
    folder = root / ADDED / folder_name(label)
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def _decisions(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Action and sha256 of each line, and the line."""
    for where, record in _records(path):
        action, sha = record["action"].lower(), record["sha256"].lower()
        if action not in ACTIONS:
            raise CurationError(f"{where}: there is no action {action!r}: {did_you_mean(action, ACTIONS)}")
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


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[Path]:
    """The file, for one writer at a time."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{FILE}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root / FILE


def append(root: Path, rows: list[dict[str, str]]) -> str:
    """Add lines, keeping what stands there byte for byte; returns them. The file is replaced at once. Waits for another
    writer."""
    with _writing(root) as path:
        read_curation(path)  # what it cannot read, it does not add to
        text = path.read_bytes().decode() if path.exists() else ",".join(COLUMNS) + "\n"
        text += "" if text.endswith("\n") else "\n"
        names = next(
            (header for line in reversed(text.splitlines()) if (header := _header(line))), [*COLUMNS]
        )
        if any(row.get("look") for row in rows) and "look" not in names:
            names = [*names, "look"]
            text += ",".join(names) + "\n"
        lines = io.StringIO()
        writer = csv.DictWriter(lines, names, restval="", extrasaction="ignore", lineterminator="\n")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for row in rows:
            # A line break in a comment would make two lines of it.
            writer.writerow({**row, "comment": " ".join(row.get("comment", "").split()), "when": now})
        files.write(path, (text + lines.getvalue()).encode())
    return lines.getvalue()


def take_back(root: Path, lines: str) -> None:
    """Remove what `append` returned, as if it had never been said. Lines that a person has edited since stay."""
    with _writing(root) as path:
        before, found, after = (path.read_bytes() if path.exists() else b"").rpartition(lines.encode())
        if found:
            files.write(path, before + after)


def _header(line: str) -> list[str]:
    cells = [cell.strip().lower() for cell in line.lstrip("\ufeff").split(",")]
    return cells if "action" in cells else []
