"""Words and numbers as people read and write them."""

from __future__ import annotations

import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Sequence

#: Unknown words that are named; of more, how many there are.
NAMED = 9

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def percent(fraction: float | None, digits: int = 0) -> str:
    """0.973 as "97 %", never parted at a line's end; never "100 %" or "0 %" of what is not quite; None as "–"."""
    if fraction is None:
        return "–"
    shown, step = round(100 * fraction, digits), 10.0**-digits
    if shown >= 100 and fraction < 1:
        return f"> {100 - step:.{digits}f}\N{NO-BREAK SPACE}%"
    if shown <= 0 < fraction:
        return f"< {step:.{digits}f}\N{NO-BREAK SPACE}%"
    return f"{shown:.{digits}f}\N{NO-BREAK SPACE}%"


def thousands(number: int | None) -> str:
    """1234 as "1,234"; None as "–"."""
    return "–" if number is None else f"{number:,}"


def duration(seconds: float) -> str:
    """As people say it: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def nearest(word: str, known: Sequence[str], alike: float = 0.5) -> str | None:
    """The known word that is most like another, whatever their case; None if none is. `alike`: how much so, from 0 to
    1 (difflib's ratio)."""
    lowered = {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(word.lower(), lowered, 1, alike)
    return lowered[close[0]] if close else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The nearest known word as a question, or what was expected: all of them, or the first of many."""
    if close := nearest(word, known):
        return f"did you mean {close}?"
    return f"expected one of {', '.join(known[:20])}{', …' if len(known) > 20 else ''}"


def did_you_mean_each(words: Sequence[str], known: Sequence[str], otherwise: str = "") -> str:
    """The first unknown words, each with `did_you_mean`, of which the same is said once; `otherwise`: where nothing is
    known."""
    said = dict[str, list[str]]()
    for word in words[:NAMED]:
        said.setdefault(did_you_mean(word, known) if known else otherwise, []).append(repr(word))
    more = f"; and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(f"{', '.join(those)}: {meant}" for meant, those in said.items()) + more


def composed(text: str) -> str:
    """A name as everyone writes it: file systems and keyboards compose accents differently (Unicode's NFC)."""
    return unicodedata.normalize("NFC", text)


def part_title(label: str, number: int, of: int) -> str:
    """What one of the parts of a large class is called. `number`: from 0."""
    return f"PictureShard({label} {number + 1} of {of})"


def without_part(title: str) -> tuple[str, str]:
    """What the parts of a class are called together, and which of them this is, such as "3 of 8"; of any other title
    itself, and nothing."""
    found = re.fullmatch(r"(PictureShard\(.*) (\d+ of \d+)\)", title, re.DOTALL)
    return (f"{found[1]})", found[2]) if found else (title, "")


def networks(text: str) -> tuple[Network, ...]:
    """Networks with commas between them, such as "10.1.0.0/16,fd00::/8". Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
