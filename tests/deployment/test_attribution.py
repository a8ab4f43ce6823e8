"""Who made the pictures of a data set, as a release tells it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.dataset.rows import SplitRow
from greenr_luigi.deployment import attribution
from greenr_luigi.deployment.attribution import Credit, credits_of, deed

FOUND = SplitRow(
    "train/grass/a.jpg", "grass", "a", "0" * 16, 64, 64, 1, "flickr", "wild grass", "https://flickr.example/1",
    "https://live.example/1.jpg", "CC BY-SA 2.0", author="=A. Person", fetched="2026-11-29", side="train",
)  # fmt: skip
#: Of a person's own folder, of a list of theirs, kept of what visitors sent, and drawn.
OWN = [
    replace(FOUND, engine="folder", query=None, page_url=None, file_url="grass/Grandma Smith 1987.jpg"),
    replace(FOUND, engine="urls", query=None, page_url=None, file_url="https://intranet.example/1.jpg?key=secret"),
    replace(FOUND, engine="feedback", query=None, page_url=None, file_url="added/visitor.jpg"),
    replace(FOUND, engine="sample", query=None, page_url=None, file_url="drawing 7"),
]  # fmt: skip


def test_only_what_a_search_found_is_listed(tmp_path: Path) -> None:
    bare = replace(FOUND, page_url=None, license=None, author=None, engine="bing", label="dandelion")
    odd = replace(FOUND, page_url="javascript:alert(1)", file_url=None)
    found = credits_of([FOUND, *OWN, bare, odd])
    assert found == [
        Credit("dandelion", "https://live.example/1.jpg", "", "", "", "bing"),
        Credit(
            "grass",
            "https://flickr.example/1",
            "=A. Person",
            "CC BY-SA 2.0",
            "https://creativecommons.org/licenses/by-sa/2.0/",
            "flickr",
        ),
    ]
    attribution.write(tmp_path / "attribution.csv", found)
    with (tmp_path / "attribution.csv").open("rb") as file:
        assert [*attribution.read(file)] == found
    _, _, opened_by_a_spreadsheet = csv.reader((tmp_path / "attribution.csv").read_text().splitlines())
    assert opened_by_a_spreadsheet[2] == "'=A. Person"


@pytest.mark.parametrize(
    "address",
    ["", "javascript:alert(1)", "ftp://a.example/", "https://10.0.0.1/", "http://[::1]/", "https://nas/1", "https://nas.local./1",
     "https://wiki.corp/1", "https://0x7f.1/", "https://127.0.0.1./", "https://nas.fritz.box/1", "https://a.localdomain/",
     "https://me:secret@a.example/", "http://[bad", "https://a.example:x/", "//a.example/1"],
)  # fmt: skip
def test_what_is_not_open_to_all_is_not_listed(address: str) -> None:
    assert credits_of([replace(FOUND, engine="site", page_url=address, file_url=None)]) == []


def test_nothing_is_written_of_a_data_set_of_ones_own(tmp_path: Path) -> None:
    attribution.write(tmp_path / "attribution.csv", credits_of(OWN))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "table", [b"", b"\xff\xfe", b"label,page\ngrass,https://a.example\n", b"a\n1,2,3\n", b'"a\n\0"']
)
def test_another_table_tells_of_nobody(table: bytes) -> None:
    assert [*attribution.read(io.BytesIO(table))] == []
    assert attribution.count(io.BytesIO(table)) == 0


def test_of_a_long_table_only_what_is_shown_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, 100,000 rows would take seconds each time, in which the page answers nobody."""
    table, read_cells = tmp_path / "attribution.csv", Counter[str]()
    credits = [Credit("grass", f"https://a.example/{n}", "=A\nB", "", "", "bing") for n in range(300)]
    attribution.write(table, credits)
    as_it_was = attribution.tables._as_it_was

    def noted(cell: str) -> str:
        read_cells[cell] += 1
        return as_it_was(cell)

    monkeypatch.setattr(attribution.tables, "_as_it_was", noted)
    with table.open("rb") as file:
        assert attribution.count(file) == 300 and not read_cells
    with table.open("rb") as file:
        assert [*attribution.read(file, 298)] == credits[298:]
    assert read_cells["bing"] == 2
    with table.open("rb") as file:
        assert [*attribution.read(file, 301)] == []


@pytest.mark.parametrize(
    ("license", "page"),
    [
        ("CC BY 2.0", "licenses/by/2.0/"),
        ("CC BY-NC-ND 4.0", "licenses/by-nc-nd/4.0/"),
        ("CC BY-SA 3.0 de", "licenses/by-sa/3.0/de/"),
        ("CC0 1.0", "publicdomain/zero/1.0/"),
        ("CC0", "publicdomain/zero/1.0/"),
        ("CC0-1.0", "publicdomain/zero/1.0/"),
        ("Public Domain Mark 1.0", "publicdomain/mark/1.0/"),
    ],
)
def test_deeds_of_creative_commons(license: str, page: str) -> None:
    assert deed(license) == f"https://creativecommons.org/{page}"


@pytest.mark.parametrize(
    "license", [None, "", "Public domain", "CC BY", "CC BY 2.0/../x", "All Rights Reserved"]
)
def test_what_has_no_deed(license: str | None) -> None:
    assert deed(license) is None
