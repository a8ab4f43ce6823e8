"""One row, in each of the forms."""

from __future__ import annotations

import csv
import json

from greenr_luigi import tables
from greenr_luigi.prediction import rows
from greenr_luigi.web.model import Answer

CLASSES = ["grass", "dandelion"]


def answer(sure: bool = True, familiar: bool = True) -> Answer:
    return Answer("dandelion", sure, familiar, 0.6, {"dandelion": 0.75, "grass": 0.25}, "0" * 16)


ROWS = [
    rows.answered("a.jpg", answer()),
    rows.answered("=b,.jpg", answer(sure=False)),
    rows.answered("c\n.jpg", answer(sure=False, familiar=False)),
    rows.refused("d.jpg", "picture-broken", "it is torn", "0" * 16),
]


def test_an_answer_has_no_reason_and_whatever_has_none_has_one() -> None:
    assert [(row.answer, row.probability, row.reason) for row in ROWS] == [
        ("dandelion", 0.75, None),
        (None, 0.75, "unsure"),
        (None, 0.75, "unfamiliar"),
        (None, None, "picture-broken"),
    ]
    assert ROWS[1].message == "the closest is dandelion with 0.75; an answer needs 0.6"


def test_a_table_has_the_same_columns_whatever_was_said() -> None:
    text = rows.csv_header(CLASSES) + "".join(rows.as_csv(row, CLASSES) for row in ROWS)
    read = list(tables.rows(text.splitlines(keepends=True)))
    assert read[0] == [*rows.COLUMNS, "probability:grass", "probability:dandelion"]
    assert {len(cells) for cells in read} == {8}
    assert [cells[0] for cells in read[1:]] == ["a.jpg", "=b,.jpg", "c\n.jpg", "d.jpg"]
    assert [cells[6:] for cells in read[1:]] == [["0.25", "0.75"]] * 3 + [["", ""]]
    assert next(csv.reader([rows.as_csv(ROWS[1], CLASSES)]))[0] == "'=b,.jpg", "no formula"


def test_a_line_of_json_has_the_same_names() -> None:
    for row in ROWS:
        line = rows.as_jsonl(row)
        assert line.count("\n") == 1 and line.endswith("\n")
        assert [*json.loads(line)] == [*rows.COLUMNS, "probabilities"]


def test_a_person_reads_the_answer_first_and_no_name_changes_the_terminal() -> None:
    shown = [rows.as_words(row, 10) for row in (*ROWS, rows.refused("\x1b[2J", "x", "y", ""))]
    assert shown[0].replace("\N{NO-BREAK SPACE}", " ") == "dandelion    75 %  a.jpg\n"
    assert shown[2].startswith("can't tell") and "c\\n.jpg  (it is like none" in shown[2]
    assert shown[3] == "refused            d.jpg  (it is torn)\n"
    assert "\x1b" not in shown[4]
