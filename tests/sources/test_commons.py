"""Openverse and Wikimedia Commons, played on loopback in their own formats."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT
from types import SimpleNamespace

import pytest

from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.sources import commons, openverse, pace
from greenr_luigi.sources.source import Request, SourceError
from tests.sources.collecting import collect_from
from tests.sources.conftest import Answer, Internet, Query, picture


def openverse_pages(pages: list[list[int]]) -> dict[int, bytes]:
    def result(number: int) -> dict[str, object]:
        return {"id": f"{number}", "url": f"https://pictures.example/{number}.jpg", "license": "by-sa",
                "license_version": "2.0", "creator": "A. N. \u200dOther",
                "foreign_landing_url": f"https://site.example/{number}"}  # fmt: skip

    found = {n: {"result_count": 99, "results": [*map(result, page)]} for n, page in enumerate(pages, 1)}
    return {number: json.dumps(page).encode() for number, page in found.items()}


def collected(source: str, out: Path, limit: int) -> list[PictureRow]:
    out.mkdir()
    collect_from(source, "grass", out, limit, query="wild grass")
    return read_jsonl(out / "manifest.jsonl", PictureRow)


def test_openverse(internet: Internet, tmp_path: Path) -> None:
    pages = openverse_pages([[*range(1, 9), 1001], [9, 10, 11, 2001, 12]])
    asked: list[Query] = []

    def api(path: str, query: Query) -> Answer:
        asked.append(query)
        return pages.get(int(query["page"]), b'{"results": []}') if path == "/v1/images/" else (404, b"")

    internet.hosts["api.openverse.org"] = api
    rows = collected("openverse", tmp_path / "out", 11)
    assert len(rows) == 11 and {row.license for row in rows} == {"CC BY-SA 2.0"}
    assert {row.author for row in rows} == {"A. N. Other"}
    assert {row.page_url for row in rows} >= {"https://site.example/1", "https://site.example/11"}
    assert asked[0]["q"] == "wild grass" and [query["page"] for query in asked] == ["1", "2"]
    asking = Request("grass", "grass", 1, root=tmp_path, license="commercial,modify")
    next(openverse.candidates(asking))
    assert asked[-1]["license_type"] == "commercial,modification"


def test_who_made_a_picture_is_learned_later_and_the_picture_is_not_fetched_again(
    internet: Internet, tmp_path: Path
) -> None:
    """Earlier versions did not ask."""
    pages = openverse_pages([[*range(11)]])
    internet.hosts["api.openverse.org"] = lambda path, query: (
        pages[1].replace(b"creator", b"unknown") if query["page"] == "1" else b'{"results": []}'
    )
    before = collected("openverse", tmp_path / "before", 11)
    internet.hosts["api.openverse.org"] = lambda path, query: pages.get(
        int(query["page"]), b'{"results": []}'
    )
    internet.asked.clear()
    after, again = (collected("openverse", tmp_path / name, 11) for name in ("after", "again"))
    assert {row.author for row in before} == {None} and {row.author for row in after} == {"A. N. Other"}
    assert again == after == [replace(row, author="A. N. Other") for row in before]
    assert not any("pictures.example" in url for url in internet.asked)
    origins = (tmp_path / "data" / "collected" / "grass" / "origins.jsonl").read_text().splitlines()
    assert len(origins) == 22


def test_openverse_says_when_it_is_asked_too_often(internet: Internet, tmp_path: Path) -> None:
    internet.hosts["api.openverse.org"] = lambda path, query: (429, b'{"detail": "Request was throttled."}')
    with pytest.raises(
        SourceError, match=r"openverse brought nothing: https://api\.openverse\.org: it answered 429"
    ):
        collected("openverse", tmp_path / "out", 10)


#: One of several processes of a data root that ask: it ends where it would have to wait.
ASKS = """
import pathlib, sys, types
from greenr_luigi.sources import openverse, pace
from greenr_luigi.sources.source import Request
wait = lambda seconds: sys.exit(f"waits {seconds:g}")
pace.time = types.SimpleNamespace(time=lambda: float(sys.argv[2]), sleep=wait)
print(len([*openverse.candidates(Request("grass", "grass", root=pathlib.Path(sys.argv[1])))]))
"""


@pytest.mark.slow
def test_openverse_is_asked_by_all_processes_of_a_root_no_more_often_than_it_answers(
    internet: Internet, tmp_path: Path
) -> None:
    asked: list[str] = []

    def api(path: str, query: Query) -> Answer:
        asked.append(query["page"])
        return openverse_pages([[n] for n in range(1, 13)])[int(query["page"])]

    def ask(*times: float) -> list[str]:
        """What processes say that ask at once, each for twelve pages."""
        command = [sys.executable, "-c", ASKS, str(tmp_path)]
        processes = [
            subprocess.Popen([*command, str(when)], stdout=PIPE, stderr=STDOUT, text=True) for when in times
        ]
        return sorted(process.communicate()[0] for process in processes)

    internet.hosts["api.openverse.org"] = api
    assert "waits 61\n" in ask(1000, 1000) and len(asked) == 20
    assert ask(1060) == ["waits 1\n"] and len(asked) == 20
    assert ask(1061) == ["12\n"] and len(asked) == 32
    # A clock that was set back does not have them wait until it is there again.
    assert ask(500) == ["12\n"]
    (tmp_path / openverse.ASKED).write_bytes(b"\xff torn")
    assert ask(500) == ["12\n"]


def test_openverse_waits_until_it_may_be_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float]()
    clock = SimpleNamespace(time=lambda: 1000.0 + sum(waits), sleep=waits.append)
    monkeypatch.setattr(pace, "time", clock)
    assert len([*openverse._paced(map(str, range(50)), tmp_path / "asked")]) == 50
    assert waits == [61, 61]


def commons_page(numbers: list[int], license: str = "CC BY-SA 4.0") -> bytes:
    def page(place: int, number: int) -> dict[str, object]:
        artist = '<a href="//commons.wikimedia.org/wiki/User:X">X &amp; <b>Y</b></a>\n'
        info = {"url": f"https://upload.wikimedia.org/huge/{number}.tif",
                "thumburl": f"https://upload.wikimedia.org/thumb/{number}.jpg",
                "descriptionurl": f"https://commons.wikimedia.org/wiki/File:{number}",
                "extmetadata": {"LicenseShortName": {"value": license, "source": "commons-desc-page"},
                                "Artist": {"value": artist}}}  # fmt: skip
        return {"pageid": number, "ns": 6, "index": place, "imagerepository": "local", "imageinfo": [info]}

    found = {str(n): page(place, n) for place, n in reversed([*enumerate(numbers, 1)])}
    return json.dumps({"batchcomplete": "", "query": {"pages": found}}).encode()


def test_commons(internet: Internet, tmp_path: Path) -> None:
    pages = {
        "0": commons_page([*range(8)]),
        "50": commons_page([8, 9], "CC0"),
        "100": b'{"batchcomplete": ""}',
    }
    internet.hosts["commons.wikimedia.org"] = lambda path, query: pages.get(query["gsroffset"], pages["100"])
    internet.hosts["upload.wikimedia.org"] = lambda path, query: picture(
        int(path.split("/")[-1].split(".")[0])
    )
    rows = collected("commons", tmp_path / "out", 20)
    assert len(rows) == 10 and {row.license for row in rows} == {"CC BY-SA 4.0", "CC0"}
    assert {row.author for row in rows} == {"X & Y"}
    assert {row.page_url for row in rows} >= {"https://commons.wikimedia.org/wiki/File:9"}
    assert any("filetype:bitmap+wild+grass" in url for url in internet.asked)
    only = list(commons.candidates(Request("grass", "grass", 9, license="publicdomain")))
    assert [one.file_url[-5:] for one in only] == ["8.jpg", "9.jpg"]


def test_commons_lists_the_best_first(internet: Internet) -> None:
    internet.hosts["commons.wikimedia.org"] = lambda path, query: commons_page([5, 3, 4])
    found = list(commons.candidates(Request("grass", "grass", 3)))
    assert [one.file_url.split("/")[-1] for one in found] == ["5.jpg", "3.jpg", "4.jpg"]


def test_commons_says_why_it_refuses(internet: Internet, tmp_path: Path) -> None:
    answer = b'{"error": {"code": "cirrussearch-too-busy-error", "info": "Search is currently too busy."}}'
    internet.hosts["commons.wikimedia.org"] = lambda path, query: answer
    with pytest.raises(
        SourceError, match="Wikimedia Commons refuses to search: Search is currently too busy"
    ):
        collected("commons", tmp_path / "out", 10)
