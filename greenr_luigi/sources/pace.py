"""So many requests in so many seconds, by all processes of a data root: a service may count them by address."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from greenr_luigi import files


def keep(path: Path, most: int, seconds: float) -> None:
    """Note one more request in a file that the processes share. Waits while there have been `most` in the last
    `seconds`."""
    while wait := _noted(path, most, seconds):
        time.sleep(wait)


def _noted(path: Path, most: int, seconds: float) -> float:
    """0 if the request is noted, else after how many seconds to try again."""
    wait = 0.0

    def note(content: bytes) -> bytes:
        nonlocal wait
        now = time.time()
        # A clock that was set back since has left times to come; one of another machine may be a little ahead.
        recent = sorted(when for when in _times(content) if abs(now - when) < seconds)[-most:]
        if len(recent) == most:
            wait = recent[0] + seconds - now
            return content
        return msgspec.json.encode([*recent, now])

    files.update(path, note)
    return wait


def _times(content: bytes) -> list[float]:
    """When requests were made, in seconds since 1970. A file that is none of ours tells of none."""
    try:
        return msgspec.json.decode(content, type=list[float])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
