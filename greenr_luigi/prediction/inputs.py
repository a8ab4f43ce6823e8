"""What is to be answered: the files below a folder, or the paths and addresses of a list."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from greenr_luigi import lists
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures import kinds
from greenr_luigi.sources import table
from greenr_luigi.staleness import listing, regular

#: Characters of a line; no path or address has more.
LONGEST = 1 << 16
#: An address that is not of the web.
OTHER_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
#: What the column of a table is called that names the pictures.
COLUMNS = (*lists.ADDRESSES, *table.FILES)
NOT_FETCHED = "it is no path, and only addresses that begin with http:// or https:// are fetched"
EXPECTED = "expected a folder of pictures, or a text file of paths or addresses, one a line or in a table"


class Input(NamedTuple):
    """`path`: as the rows tell it, always Unicode; `file`: the path or address that it is read from; `fault`: why it
    cannot be, if that is known already."""

    path: str
    file: str
    fault: str = ""


def inputs(given: Path, written: Path | None = None) -> Iterator[Input]:
    """All of a folder, at any depth and in the order of names, or of a list, in its order. Nothing is passed over
    silently but what is hidden, here or by other systems (Thumbs.db), links to folders, and empty lines and comments.

    `written`: the file that the rows go to, which is none of them. Raises GreenrError for what is neither a folder nor
    a list. Memory: the names of one folder, or the lines of a table."""
    try:
        if given.is_dir():
            os.scandir(given).close()
            return _below(given, written)
        with regular.opened(given) as file:
            head = file.read(4096)
    except OSError as error:
        raise GreenrError(f"{given} cannot be read ({error.strerror}): {EXPECTED}") from None
    if kinds.format_of(head, own=True):
        return iter([_input(f"{given}")])
    encoding = lists.encoding(head)
    if "\0" in head.decode(encoding, "replace"):
        raise GreenrError(f"{given} is neither a picture nor text in UTF-8: {EXPECTED}")
    lines = lists.first(given)
    # No path is taken for a header.
    if lines and not _there(given, lines[0]) and lists.is_table(lines, COLUMNS):
        return (_named(given, entry.address) for entry in lists.entries(given, columns=COLUMNS))
    return _lines(given, encoding)


def _below(top: Path, written: Path | None) -> Iterator[Input]:
    unlisted: list[OSError] = []
    for base, folders, names in os.walk(top, onerror=unlisted.append):
        while unlisted:
            yield _unlisted(unlisted.pop())
        folders[:] = sorted(filter(_is_seen, folders))
        is_there = (
            written is not None and written.name in names and regular.real(Path(base)) == written.parent
        )
        for name in sorted(filter(_is_seen, names)):
            if not (written and is_there and name == written.name):
                yield _input(os.path.join(base, name))  # noqa: PTH118  a Path for each takes long
    yield from map(_unlisted, unlisted)


def _is_seen(name: str) -> bool:
    return not listing.is_hidden(name)


def _lines(given: Path, encoding: str) -> Iterator[Input]:
    # Of a path, which may be any bytes, nothing is lost.
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    with regular.opened(given, "r", encoding=encoding, errors=errors) as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if len(line) == LONGEST:
                raise GreenrError(f"{given}: line {number} has {LONGEST:,} characters or more: {EXPECTED}")
            word = line.strip()
            if word and not word.startswith("#"):
                # What follows a tab is of another column.
                yield _named(given, word.partition("\t")[0] if lists.is_address(word) else word)


def _named(given: Path, word: str) -> Input:
    """What a word of a list names."""
    bare = _bare(word)
    if lists.is_address(bare):
        return _input(word, bare)
    if there := _there(given, word):
        return _input(word, there)
    return _input(word, fault=NOT_FETCHED if OTHER_ADDRESS.match(bare) else "")


def _there(given: Path, word: str) -> str:
    """The path that a word means, if there is one: from the working folder, else from the folder of the list; its
    accents composed or not, where there is none as it is written."""
    words = [word]
    if not word.isascii():
        words += [unicodedata.normalize(form, word) for form in ("NFC", "NFD")]
    places = [path for one in words for path in (one, _bare(one), f"{given.parent / _bare(one)}")]
    return next((path for path in places if os.path.lexists(path.replace("\0", ""))), "")


def _bare(word: str) -> str:
    """Without quotes, as Windows copies paths."""
    return word[1:-1] if word.startswith('"') and word.endswith('"') and len(word) > 2 else word


def _input(path: str, file: str = "", fault: str = "") -> Input:
    told = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return Input(told, file or path, fault)


def _unlisted(error: OSError) -> Input:
    return _input(f"{error.filename}", fault=f"the folder cannot be listed: {error.strerror}")
