"""The history of a release store: each change of `current`, oldest first, a line of history.jsonl each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenr_luigi import contracts

FILE = "history.jsonl"
#: "rollback": a person went back. "failed": a deployment went back by itself, since its release did not serve.
Reason = Literal["deploy", "rollback", "failed"]


@dataclass(frozen=True)
class Entry:
    """From `when` (ISO, UTC) on, the release `digest` was the current one."""

    digest: str
    why: Reason = "deploy"
    when: str = ""


def append(store: Path, entry: Entry) -> None:
    contracts.append_log(store / FILE, entry)


def way_back(store: Path) -> list[str]:
    """The digests that rollbacks would lead to, one after the other; the current one may be the first."""
    stack: list[str] = []
    for entry in contracts.read_log(store / FILE, Entry):
        if entry.why != "deploy" and entry.digest in stack:
            del stack[stack.index(entry.digest) + 1 :]
        elif entry.digest not in stack[-1:]:
            stack.append(entry.digest)
    return stack[::-1]


def rolled_back(store: Path, digest: str) -> bool:
    """Whether a person has gone back from a release, and nobody has deployed it since."""
    serving, gone = "", set()
    for entry in contracts.read_log(store / FILE, Entry):
        if entry.why == "rollback":
            gone.add(serving)
        serving = entry.digest
        if entry.why == "deploy":
            gone.discard(serving)
    return digest in gone
