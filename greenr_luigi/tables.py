"""CSV files, which people open in a spreadsheet: what that would run as a formula is written as text, and read back as
it was. Only here is CSV of ours written and read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenr_luigi.staleness import regular

#: What comes before what a spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection), or
#: would be read back as one: the cell's beginning, and what begins a cell where a semicolon or tab parts them, as in
#: countries that write 0,5. An apostrophe makes it text.
BEFORE, SIGNS = "(^|[;\t\r\n])", "[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
FORMULA, SIGN = f"(?='*{SIGNS})", re.compile(SIGNS)
UNMARKED, MARKED = re.compile(BEFORE + FORMULA), re.compile(f"{BEFORE}'{FORMULA}")
#: As the csv module ends a line: it quotes a carriage return only where lines end in one.
END = "\r\n"


def write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with a header."""
    with regular.opened(path, "w", newline="", encoding="utf-8") as file:
        writer = _writer(file.write)
        writer.writerow(map(_as_text, names))
        writer.writerows(map(_as_text, row) for row in rows)


def line(cells: Sequence[object], quoting: int = csv.QUOTE_MINIMAL) -> str:
    """A line of a table, with its end. Numbers are no formulas, and have six digits if they are no integers; None is an
    empty cell."""
    buffer = io.StringIO()
    _writer(buffer.write, quoting).writerow(map(_as_text, cells))
    return buffer.getvalue()


def _writer(give: Callable[[str], object], quoting: Any = csv.QUOTE_MINIMAL) -> Any:
    return csv.writer(_Lines(give), lineterminator=END, quoting=quoting)


@dataclass
class _Lines:
    """Where the csv module writes to, a line at a time. `give`: gets each, as we end it."""

    give: Callable[[str], object]

    def write(self, line: str) -> None:
        self.give(line.removesuffix(END) + "\n")


def rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """The cells of each line of a table. Raises csv.Error."""
    return (cells for _, cells in numbered(lines))


def numbered(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """As `rows`, each with the number of the line that it ends in, from 1."""
    reader = csv.reader(lines)
    return ((reader.line_num, [_as_it_was(cell) for cell in row]) for row in reader)


class Records(csv.DictReader):  # type: ignore[type-arg]  # Python 3.11 lets no class derive from the generic one.
    """As csv.DictReader, with the cells as they were."""

    def __next__(self) -> dict[str, str]:
        record = super().__next__()
        return {name: _as_it_was(cell) if isinstance(cell, str) else cell for name, cell in record.items()}


def _as_text(cell: object) -> object:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    # The look for a sign alone is several times as fast, and most cells have none.
    return UNMARKED.sub(r"\1'", cell) if isinstance(cell, str) and SIGN.search(cell) else cell


def _as_it_was(cell: str) -> str:
    # The look for the letter alone is ten times as fast, where there are millions of numbers.
    return MARKED.sub(r"\1", cell) if "'" in cell else cell
