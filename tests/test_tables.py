"""Tables that people open: nothing in a cell is run, and all is read back as it was."""

from __future__ import annotations

import csv
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi import tables
from greenr_luigi.about import PACKAGE

FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
HOSTILE = [
    *"=+-@\t\r\n';",
    "a;=1+1;'-",
    "\t\t=1\t\n@",
    "=1+1",
    "@SUM(A1)",
    "\t=1",
    "=cmd|' /C calc'!A0",
    "\uff1d1",
    "'=1",
    "''+",
    '=HYPERLINK("a,b")',
]
CELLS = st.lists(
    st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=2
)


def lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


@given(CELLS)
def test_all_is_read_back_as_it_was_and_nothing_is_a_formula(cells: list[str]) -> None:
    line = tables.line(cells)
    assert [*tables.rows(lines(line))] == [cells]
    (shown,) = csv.reader(lines(line))
    assert not any(map(FORMULA.match, shown))
    # As a spreadsheet shows them where a semicolon or tab parts cells.
    assert not any(map(FORMULA.match, re.split("[;\t\r\n]", "".join(lines(line)))))
    header = [str(number) for number in range(len(cells))]
    (record,) = tables.Records(lines(tables.line(header) + line))
    assert [*record.values()] == cells


def test_numbers_stay_numbers() -> None:
    assert tables.line([-0.5, -3, None, 1 / 3, "a", "it's"]) == "-0.5,-3,,0.333333,a,it's\n"
    # As earlier versions wrote them, too.
    assert [*tables.rows(["-0.5,'abc,=x\n"])] == [["-0.5", "'abc", "=x"]]


def test_no_other_module_writes_or_reads_tables() -> None:
    """But for the lists of addresses that a person made, and what an installed distribution holds (RECORD)."""
    words = re.compile(r"csv\.(reader|writer|Dict)|import .*\bDict(Reader|Writer)|\.to_csv")
    users = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if words.search(path.read_text())
    }
    assert users == {"tables.py", "lists.py", "staleness/libraries.py"}
