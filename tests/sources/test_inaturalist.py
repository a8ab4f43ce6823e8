"""iNaturalist, played on loopback in its own format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.sources import download, inaturalist, pace, registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.inaturalist import called
from greenr_luigi.sources.results import Answer as Page
from greenr_luigi.sources.source import NothingFound, Request, SourceError
from tests.progress import quiet
from tests.sources.conftest import Answer, Internet, Query
from tests.sources.test_commons import openverse_pages

HOST = "api.inaturalist.org"


def taxon(number: int, name: str, common: str | None, count: int, **more: object) -> dict[str, object]:
    return {"id": number, "name": name, "preferred_common_name": common, "observations_count": count,
            "rank": "species", "is_active": True, "matched_term": common or name} | more  # fmt: skip


DANDELION = taxon(47602, "Taraxacum officinale", "Common Dandelion", 400_000)
GENUS = taxon(47603, "Taraxacum", "dandelions", 500_000, rank="genus")
TAXA = [GENUS, DANDELION, taxon(1, "Agoseris", "mountain dandelions", 9000)]


def observation(number: int, license: str | None = "cc-by", **more: object) -> dict[str, object]:
    def photo(license: str | None, name: str) -> dict[str, object]:
        words = "some rights reserved (CC BY)" if license else "all rights reserved"
        return {"id": number, "license_code": license, "attribution": f"(c) Ada, Countess {number}, {words}",
                "url": f"https://static.inaturalist.org/photos/{name}/square.jpeg?158"}  # fmt: skip

    return {
        "id": number,
        "quality_grade": "research",
        "uri": f"https://www.inaturalist.org/observations/{number}",
        "user": {"login": "ada", "name": None},
        "photos": [photo(None, "no"), photo(license, f"{number}"), photo("cc0", f"{number}-second")],
    } | more


def page(results: object) -> bytes:
    return json.dumps({"total_results": 99, "page": 1, "per_page": 30, "results": results}).encode()


@pytest.fixture
def play(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Query]]:
    """iNaturalist with these observations; returns what is asked of it."""

    def host(numbers: range, taxa: object = TAXA) -> list[Query]:
        asked: list[Query] = []

        def api(path: str, query: Query) -> Answer:
            asked.append(query | {"path": path})
            if path == "/v1/taxa":
                return page(taxa)
            found = [number for number in numbers if number > int(query["id_above"])]
            return page([observation(number) for number in found[: int(query["per_page"])]])

        internet.hosts[HOST] = api
        internet.hosts["static.inaturalist.org"] = lambda path, query: internet.hosts["pictures.example"](
            path.removeprefix("/photos").replace("/large.jpeg", ".jpg"), query
        )
        return asked

    monkeypatch.setattr(inaturalist, "PAGE", 5)
    return host


def collected(
    root: Path, source: str = "inaturalist", label: str = "dandelion", limit: int = 10
) -> dict[str, object]:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return collect(registry.find(source), Request(label, label, limit, root=root / "data"), out, {}, quiet)


def test_the_first_free_photograph_of_each_observation(
    play: Callable[..., list[Query]], tmp_path: Path
) -> None:
    asked = play(range(1, 99))
    counts = collected(tmp_path, limit=12)
    assert counts["pictures"] == 12
    assert counts["understood"] == "inaturalist: 'dandelion' is Taraxacum (genus)"
    rows = read_jsonl(tmp_path / "out/manifest.jsonl", PictureRow)
    first = next(
        row for row in rows if row.file_url == "https://static.inaturalist.org/photos/7/large.jpeg?158"
    )
    assert (first.page_url, first.license, first.author, first.engine) == (
        "https://www.inaturalist.org/observations/7",
        "CC BY 4.0",
        "Ada, Countess 7",
        "inaturalist",
    )
    assert asked[0]["path"] == "/v1/taxa" and asked[0]["q"] == "dandelion"
    pages = asked[1:]
    assert [query["id_above"] for query in pages] == ["0", "5", "10"]
    assert {query["quality_grade"] for query in pages} == {"research"}
    assert {query["taxon_id"] for query in pages} == {"47603"}
    assert all(query["order_by"] == "id" and query["order"] == "asc" for query in pages)


def test_it_ends_where_there_are_no_more(play: Callable[..., list[Query]], tmp_path: Path) -> None:
    asked = play(range(1, 14))
    assert collected(tmp_path, limit=100)["pictures"] == 13
    assert [query.get("id_above") for query in asked] == [None, "0", "5", "10", "13"]


def test_a_service_that_pages_otherwise_is_not_asked_for_ever(
    play: Callable[..., list[Query]], internet: Internet, tmp_path: Path
) -> None:
    asked = play(range(1, 99))
    api = internet.hosts[HOST]
    internet.hosts[HOST] = lambda path, query: api(path, query | {"id_above": "0"})
    assert len([*inaturalist.candidates(Request("dandelion", "dandelion", root=tmp_path))]) == 5
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("license", "codes", "free"),
    [
        (None, {"cc0", "cc-by", "cc-by-sa", "cc-by-nd", "cc-by-nc", "cc-by-nc-sa", "cc-by-nc-nd"}, "8"),
        ("commercial,modify", {"cc0", "cc-by", "cc-by-sa"}, "8-second"),
        ("publicdomain", {"cc0"}, "8-second"),
    ],
)
def test_licences(
    license: str | None,
    codes: set[str],
    free: str,
    play: Callable[..., list[Query]],
    internet: Internet,
    tmp_path: Path,
) -> None:
    asked = play(range(8, 9))
    api = internet.hosts[HOST]
    internet.hosts[HOST] = lambda path, query: (
        api(path, query)
        if path == "/v1/taxa" or query["id_above"] != "0"
        else (api(path, query), page([observation(8, "cc-by-nc"), observation(9, None)]))[1]
    )
    found = [*inaturalist.candidates(Request("dandelion", "dandelion", 9, root=tmp_path, license=license))]
    assert set(asked[1]["photo_license"].split(",")) == codes
    assert found[0].file_url == f"https://static.inaturalist.org/photos/{free}/large.jpeg?158"


def test_what_is_no_living_thing_is_no_failure_behind_others(
    play: Callable[..., list[Query]], internet: Internet, tmp_path: Path
) -> None:
    play(range(1, 99), taxa=[taxon(2, "Vitis mustangensis", "mustang grape", 5000)])
    words = "inaturalist: knows living things only, and none that is called 'mustang'"
    with pytest.raises(SourceError, match=f"brought no pictures of 'mustang'.*{words}"):
        collected(tmp_path, label="mustang")
    pages = openverse_pages([[*range(12)]])
    internet.hosts["api.openverse.org"] = lambda path, query: pages.get(int(query["page"]), page([]))
    counts = collected(tmp_path, "inaturalist,openverse", "mustang", 12)
    assert counts["pictures"] == 12 and counts["understood"] == words
    assert "retry" not in counts and "warning" not in counts


@pytest.mark.parametrize(
    ("query", "taxa", "number"),
    [
        ("dandelion", TAXA, 47603),
        ("Dandelions", TAXA, 47603),
        ("common_dandelion", TAXA, 47602),
        ("taraxacum  officinale", TAXA, 47602),
        ("dandelion", [DANDELION], 47602),
        ("dandelion", [GENUS, DANDELION | {"matched_term": "Dandelion"}], 47602),
        # A section that once had the name of the species.
        (
            "Taraxacum officinale",
            [taxon(3, "Taraxacum", "dandelions", 900_000, matched_term="Taraxacum officinale"), DANDELION],
            47602,
        ),
        ("grass", [taxon(4, "Poaceae", "grasses", 9), taxon(5, "Xyris", "yellow-eyed grass", 99)], 4),
        ("L\u00f6wenzahn", [DANDELION | {"matched_term": "Lo\u0308wenzahn"}], 47602),
        ("swift", [taxon(6, "Apodidae", "Swifts", 9), taxon(7, "Apodinae", "Swifts", 10)], 7),
        ("blueberries", [taxon(8, "Vaccinium", "blueberry", 9)], 8),
        ("mustang", [taxon(2, "Vitis mustangensis", "mustang grape", 5000)], None),
        ("shoe", [taxon(9, "Balaeniceps rex", "Shoebill", 5000)], None),
        ("bus", [taxon(10, "Bu", "bu", 1)], None),
        ("shoe", [], None),
    ],
)  # fmt: skip
def test_what_a_word_is_taken_for(query: str, taxa: list[dict[str, object]], number: int | None) -> None:
    found = called(query, Page(page(taxa)))
    assert (found and found["id"]) == number


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((429, b'{"error": "Too Many Requests", "status": 429}'), "https://api.inaturalist.org: it answered 429"),
        ((403, b"blocked"), "it answered 403"),
        (b"<html>Just a moment...</html>", "in another format than expected"),
        (page([])[:-9], "in another format than expected"),
        (b'{"error": "taxa are gone"}', "in another format than expected"),
        (page([{"id": 1}, 7]), "in another format than expected"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/taxa", "/v1/observations"])
def test_another_answer_is_told(
    path: str, answer: Answer, words: str, play: Callable[..., list[Query]], internet: Internet, tmp_path: Path,
    no_waiting: None,
) -> None:  # fmt: skip
    play(range(1, 99))
    api = internet.hosts[HOST]
    internet.hosts[HOST] = lambda at, query: answer if at == path else api(at, query)
    if path == "/v1/observations" and isinstance(answer, bytes) and b"7" in answer:
        words = "Refused: 2 address"
    with pytest.raises(SourceError, match=words):
        collected(tmp_path)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRIES", 0)


def test_it_is_asked_no_more_often_than_it_wants(
    play: Callable[..., list[Query]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = list[float]()
    monkeypatch.setattr(pace, "time", SimpleNamespace(time=lambda: 1000.0 + sum(waits), sleep=waits.append))
    monkeypatch.setattr(inaturalist, "A_MINUTE", 3)
    asked = play(range(1, 13))
    assert len([*inaturalist.candidates(Request("dandelion", "dandelion", root=tmp_path))]) == 12
    assert waits == [60.0] and len(asked) == 5
    with pytest.raises(NothingFound):
        play(range(0), taxa=[])
        next(inaturalist.candidates(Request("shoe", "shoe", root=tmp_path)))
