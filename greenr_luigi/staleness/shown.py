"""What strangers call their files, and write, as text that any file holds and a terminal only shows."""

from __future__ import annotations

import unicodedata


def printable(path: object) -> str:
    """A path or file name as text. File systems take any bytes for a name; those that are no UTF-8 become \\xfc."""
    return harmless(str(path).encode(errors="surrogateescape").decode(errors="backslashreplace"))


def harmless(text: str) -> str:
    """What is no character, turns the text around or changes a terminal is an escape, such as \\x1b; a
    space of any width stays."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )
