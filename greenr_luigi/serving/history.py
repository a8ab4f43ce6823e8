"""The history of a release store: which releases have served, oldest first, a line of history.jsonl each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenr_luigi import contracts

FILE = "history.jsonl"
#: "rollback": a person went back. "failed", in stores of version 0.2: the deployment of the line before did not come to
#: serve.
Reason = Literal["deploy", "rollback", "failed"]


@dataclass(frozen=True)
class Entry:
    """From `when` (ISO, UTC) on, the release `digest` served."""

    digest: str
    why: Reason = "deploy"
    when: str = ""


def append(store: Path, entry: Entry) -> None:
    contracts.append_log(store / FILE, entry)


def read(store: Path) -> list[Entry]:
    """What has served, without what failed to."""
    served: list[Entry] = []
    for entry in contracts.read_log(store / FILE, Entry):
        if entry.why == "failed":
            del served[-1:]
        else:
            served.append(entry)
    return served


def since(store: Path) -> dict[str, str]:
    """When each release last came to serve (ISO, UTC), as far as that was noted."""
    return {entry.digest: entry.when for entry in read(store) if entry.when}


def way_back(store: Path) -> list[str]:
    """The digest of the release that serves, and those that rollbacks lead to, one after the other."""
    stack: list[str] = []
    for entry in read(store):
        if entry.why == "rollback" and entry.digest in stack:
            del stack[stack.index(entry.digest) + 1 :]
        elif entry.digest not in stack[-1:]:
            stack.append(entry.digest)
    return stack[::-1]


def left(store: Path) -> set[str]:
    """The releases that a person has gone back from, and since which none has been deployed."""
    serving, left = "", set[str]()
    for entry in read(store):
        if entry.why == "rollback":
            left.add(serving)
        else:
            left.clear()
        serving = entry.digest
    return left
