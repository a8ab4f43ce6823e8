"""Lists of addresses as people and spreadsheets write them: in whatever encoding that can be told, with or without a
header, a label and quotes, and with whatever between the columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shlex
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness import regular
from greenr_luigi.text import composed

#: What columns are called, by `plain`; the first that there is counts.
LABELS = (
    *("label", "labels", "class", "classname", "labelname", "category", "species", "breed", "variety"),
    *("tag", "target", "diagnosis", "dx", "classes", "classid", "labelid"),
)
ADDRESSES = (
    *("url", "address", "fileurl", "imageurl", "link", "urls", "uri", "href", "src", "webaddress"),
    *("imagelink", "imagesrc", "imageaddress", "imgurl", "pictureurl", "photourl", "downloadurl"),
)
GROUPS = ("group", "groupid", "groups")
SIDES = ("split", "side", "set", "subset", "partition", "dataset", "isvalid", "istest")
#: What may stand between columns; a tab stands in no address.
SEPARATORS = "\t;,"
#: Lines by which it is judged how a list without a header is written.
SOME = 1000
#: Bytes by which it is judged whether it is one.
HEAD = 1 << 16
#: Comments, empty lines, and what a spreadsheet says of its separator, which the header shows.
UNSAID = re.compile(r'\s*(#|$)|"?sep=."?$')
#: What an address of a picture has, and a word that a column is called by has not.
OF_ADDRESS = re.compile(r"[./:]")
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    # Before that of UTF-16, which is its beginning.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Entry(NamedTuple):
    """`label` and `group`: composed (NFC), empty where the list has none. `line`: counted from 1. `side`: what the
    column is called that tells it (of SIDES), and its cell."""

    address: str
    label: str
    line: int
    group: str = ""
    side: tuple[str, str] = ("", "")


class _Form(NamedTuple):
    """How a list is written: what its columns are called, what stands between them, and the lines of its header."""

    separator: str
    columns: Sequence[str]
    header: int = 0

    def column(self, names: Sequence[str]) -> int:
        """The first column of the first of these names that there is, or -1."""
        return next((self.columns.index(name) for name in names if name in self.columns), -1)


def plain(name: str) -> str:
    """The name of a column in small letters, without what separates words."""
    return re.sub(r"[\W_]+", "", composed(name).lower())


def is_address(word: str) -> bool:
    return word.lower().startswith(("http://", "https://"))


def encoding(data: bytes) -> str:
    """That of a text, by its mark or, of UTF-16 without one, by its zero bytes; else UTF-8."""
    if mark := next((mark for mark in MARKS if data.startswith(mark)), None):
        return MARKS[mark]
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if data[first::2].count(0) > len(data) / 4:
            return name
    return "utf-8"


def beginning(path: Path) -> str:
    """The first characters of a text, by which it is judged what it is."""
    with regular.opened(path) as file:
        head = bytes(file.read(HEAD))
    return head.decode(encoding(head), "replace")


def has_address(path: Path) -> bool:
    """Whether a file begins as a list of addresses may: there is one within its first lines."""
    return re.search(r"https?://", beginning(path), re.IGNORECASE) is not None


def first(path: Path) -> list[str]:
    """The first lines of a text that are neither empty nor a comment (#), by which it is judged how it is written."""
    text = io.StringIO(beginning(path), newline=None)
    return [line.rstrip(" \n") for line in text if not UNSAID.match(line)][:SOME]


def is_table(lines: Sequence[str], columns: Sequence[str] = ADDRESSES) -> bool:
    """Whether these first lines of a list have a header, or more than one column."""
    form = _form(lines, False, columns)
    return form.header > 0 or len(form.columns) > 1


def entries(path: Path, labelled: bool = False, columns: Sequence[str] = ADDRESSES) -> list[Entry]:
    """The lines of a list that are neither empty nor a comment (#). `labelled`: it is one list for all classes, so that
    each line has a label, too; `columns`: what that of the addresses may be called, by `plain`. Raises GreenrError for
    what is no such list."""
    lines = lines_of(path)
    form = _form([line for _, line in lines[:SOME]], labelled, columns)
    address, label, group, side = map(form.column, (columns, LABELS, GROUPS, SIDES))
    if labelled and label < 0:
        raise GreenrError(f"{path}: expected a header with the columns label,url and lines below it")
    rows = reader([line for _, line in lines[form.header :]], form.separator)
    found, number, read = [], 0, form.header

    def cell(row: Sequence[str], column: int) -> str:
        return row[column] if 0 <= column < len(row) else ""

    try:
        while read < len(lines):
            number = lines[read][0]
            row = _fitted(next(rows), form, address)
            read = form.header + rows.line_num
            if any(row):
                # What follows a # is sent to nobody. Of a torn line, all is told.
                url = cell(row, address)
                url = (
                    url.partition("#")[0].rstrip() if columns is ADDRESSES or is_address(url) else url
                ) or form.separator.join(row)
                of_side = (form.columns[side], cell(row, side)) if side >= 0 else ("", "")
                found.append(
                    Entry(url, composed(cell(row, label)), number, composed(cell(row, group)), of_side)
                )
    except csv.Error as error:
        raise GreenrError(
            f"{path}: line {number} cannot be read ({error}): close its quotes, or write it without"
        ) from None
    return found


def lines_of(path: Path) -> list[tuple[int, str]]:
    """The lines of a text that are neither empty nor a comment (#), each with its number, counted from 1. Raises
    GreenrError for what is no text."""
    lines = enumerate(io.StringIO(_text(path), newline=None), 1)
    return [(number, line.rstrip(" \n")) for number, line in lines if not UNSAID.match(line)]


def _text(path: Path) -> str:
    """What a file says. Raises GreenrError for what is no text, and for an encoding that could only be guessed."""
    data = regular.read(path)
    if zipfile.is_zipfile(io.BytesIO(data)) or tarfile.is_tarfile(io.BytesIO(data)):
        raise GreenrError(f"{path} is an archive, and no list of addresses: unpack it, and name the folder")
    try:
        text = data.decode(encoding(data))
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(error.encoding, "replace")
        line = len(io.StringIO(f"{before}.", newline=None).readlines())
        if error.encoding != "utf-8":
            raise GreenrError(
                f"{path}: line {line} is no text in {error.encoding.upper()}: save the list as UTF-8"
            ) from None
        raise GreenrError(
            f"{path}: line {line} is not in UTF-8 and may be in Latin-1 or Windows-1252: save the list as UTF-8, "
            f"from Windows-1252 by: iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(path.name)} > "
            f"{shlex.quote(f'new-{path.name}')}"
        ) from None
    if "\0" in text:
        raise GreenrError(f"{path} is no text: expected a list of addresses in UTF-8")
    # Where lists were put together, there are marks in the middle.
    return text.replace("\ufeff", "")


def _form(lines: Sequence[str], labelled: bool, names: Sequence[str]) -> _Form:
    """How a list is written. A first line that has neither an address nor a part of one where others have theirs is a
    header in words of its own."""
    form = _guessed(lines, labelled, names)
    address = form.column(names)
    if not form.header and len(form.columns) > 1 and len(lines) > 1:
        first = cells(lines[0], form.separator)
        if len(first) > address and first[address] and not OF_ADDRESS.search("".join(first)):
            return form._replace(header=1)
    return form


def _guessed(lines: Sequence[str], labelled: bool, names: Sequence[str]) -> _Form:
    """By the header; without one, by where most lines have an address, and by those that begin with a quote. A line
    that begins with an address is else one as a whole, up to a tab, since commas may be its own."""
    tables = {separator: [cells(line, separator) for line in lines] for separator in SEPARATORS}
    for separator, rows in tables.items():
        header = [plain(cell) for cell in rows[0]] if rows else []
        if not set(header).isdisjoint(names):
            return _Form(separator, header, 1)
    for separator, rows in tables.items():
        places = Counter(next((at for at, cell in enumerate(row) if is_address(cell)), None) for row in rows)
        del places[None]
        if place := max(places, key=places.__getitem__, default=0):
            return _Form(separator, [LABELS[0], *[""] * (place - 1), ADDRESSES[0]])
    for separator, rows in tables.items():
        quoted = (row for row, line in zip(rows, lines, strict=True) if line.lstrip(" ").startswith('"'))
        if row := next((row for row in quoted if len(row) > 1), None):
            return _Form(separator, [ADDRESSES[0], LABELS[0], *[""] * (len(row) - 2)])
    if labelled:
        most = [sep for sep in SEPARATORS if 2 * sum(sep in line for line in lines) > len(lines)]
        # Of two, a header has to say which one is of the addresses.
        return (
            _Form(most[0], [ADDRESSES[0], LABELS[0]])
            if most[:1] == ["\t"] or len(most) == 1
            else _Form("\t", [])
        )
    return _Form("\t", ADDRESSES[:1])


def _fitted(row: Sequence[str], form: _Form, address: int) -> list[str]:
    """The cells of a line. What is too much for the columns is the address's own commas, unless these may be of a text
    that follows."""
    row = [cell.strip() for cell in row]
    while len(row) > len(form.columns) and not row[-1]:
        row.pop()
    surplus = len(row) - len(form.columns)
    if surplus > 0 and form.separator != "\t" and set(form.columns[address + 1 :]).issubset(LABELS):
        end = address + surplus + 1
        row[address:end] = [form.separator.join(row[address:end])]
    return row


def cells(line: str, separator: str) -> list[str]:
    """Those of one line; none if it cannot be read so."""
    try:
        return [cell.strip() for cell in next(reader([line], separator))]
    except csv.Error:
        return []


def reader(lines: Sequence[str], separator: str):  # type: ignore[no-untyped-def]  # Its type has no public name.
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
