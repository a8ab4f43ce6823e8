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

import csv
import datetime
import fcntl
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

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


@dataclass(frozen=True)
class Curation:
    """What holds now, by sha256: rejected pictures, relabelled ones with their new label, and those that were `spoken`
    of, since kept, relabelled or added. `rejected_hashes`: perceptual hashes of rejected pictures, and since when (ISO,
    UTC)."""

    rejected: frozenset[str] = frozenset()
    relabelled: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rejected_hashes: Mapping[PerceptualHash, str] = field(default_factory=lambda: MappingProxyType({}))
    spoken: frozenset[str] = frozenset()


def read_curation(path: Path) -> Curation:
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
    hashes = {
        PerceptualHash(row["look"][:16], row["look"][16:]): row["when"]
        for row in rejected.values()
        if row["look"]
    }
    return Curation(
        frozenset(rejected), MappingProxyType(relabelled), MappingProxyType(hashes), frozenset(spoken)
    )


def decided_pictures(path: Path) -> frozenset[str]:
    """The sha256 of every picture that a decision is about and was not taken back. Raises as `read_curation`."""
    last = {sha: action for action, sha, _ in _decisions(path)}
    return frozenset(sha for sha, action in last.items() if action != "restore")


def withdrawn_pictures(path: Path) -> frozenset[str]:
    """The sha256 of pictures that a person added and then took back: `restore` takes back what was said of one since,
    and only then that it was added. Raises as `read_curation`."""
    added: set[str] = set()
    withdrawn: set[str] = set()
    last: dict[str, str] = {}
    for action, sha, _ in _decisions(path):
        if action == "add":
            added.add(sha)
        if action == "restore" and sha in added and last[sha] in ("add", "restore"):
            withdrawn.add(sha)
        elif action in ("add", "keep", "relabel"):
            withdrawn.discard(sha)
        last[sha] = action
    return frozenset(withdrawn)


def added_files(root: Path, label: str) -> list[Path]:
    """The pictures that a person added to a label, by name."""
    folder = root / ADDED / folder_name(label)
    return (
        sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        if folder.is_dir()
        else []
    )


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


def append(root: Path, rows: list[dict[str, str]]) -> None:
    """Add lines, keeping what stands there byte for byte; the file is replaced at once. Waits for another
    writer."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / FILE
    with (root / f".{FILE}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = path.read_bytes().decode() if path.exists() else ",".join(COLUMNS) + "\n"
        read_curation(path)  # what it cannot read, it does not add to
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
        files.write(
            path, (text + ("\n" if text and not text.endswith("\n") else "") + new.getvalue()).encode()
        )


def _header(line: str) -> list[str]:
    cells = [cell.strip().lower() for cell in line.lstrip("\ufeff").split(",")]
    return cells if "action" in cells else []
