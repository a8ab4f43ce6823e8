"""Collecting: what a collection holds, what is said while it goes on, what is an error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

import pytest

from greenr_luigi.pictures import examine as looking
from greenr_luigi.pictures.manifest import PictureRow, Refusal, read_jsonl
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import checking, registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError, Unavailable
from tests.progress import quiet
from tests.sources.collecting import collect_from
from tests.sources.conftest import Internet, picture

URL = "https://pictures.example/{}.jpg"


@pytest.fixture
def lists(internet: Internet, tmp_path: Path) -> Path:
    (tmp_path / "grass.txt").write_text("\n".join(URL.format(number) for number in range(12)))
    return tmp_path


def collected(lists: Path, name: str) -> list[PictureRow]:
    out = lists / name
    collect_from("urls", "grass", out, 0, lists)
    return read_jsonl(out / "manifest.jsonl", PictureRow)


def test_pictures_are_named_by_their_content(lists: Path) -> None:
    for row in collected(lists, "one"):
        assert row.file == f"pictures/{row.sha256[:16]}.jpg" and (row.width, row.height) == (64, 64)


def test_progress_goes_up_to_one(lists: Path) -> None:
    told: list[tuple[float, str]] = []
    collect_from("urls", "grass", lists / "out", 12, lists, on_progress=lambda *what: told.append(what))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and told[-1] == (1, "grass: 12 pictures")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("bnig", r"there is no source 'bnig': did you mean bing\?"),
        ("something", r"there is no source 'something': expected one of openverse, .*sample"),
        ("urls", "the source 'urls' needs --folder: lists of addresses"),
    ],
)
def test_what_cannot_be_meant_is_an_error(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words):
        collect_from(source, "grass", tmp_path / "out")


def test_fewer_than_ten_will_do_if_fewer_are_asked_for(tmp_path: Path) -> None:
    told = collect_from("sample", "grass", tmp_path / "out", 3)
    assert told == {"pictures": 3, "new": 3, "refused": 0}


def test_every_source_says_what_it_is() -> None:
    for name in registry.SOURCES:
        source = registry.find(name)
        assert (source.name, source.module) == (name, registry.SOURCES[name])
        assert source.hint and not (source.local and source.is_list)
        # Without a limit a search would never end.
        assert source.default_limit or source.local or source.is_list


#: Number, side and group of pictures: number 2 is there twice, learned from and held out.
SAID = [(n, None, None) for n in range(5, 15)] + [
    (1, "train", "walk"),
    (2, "train", "walk"),
    (2, "valid", "run"),
    (3, "test", None),
]


@pytest.mark.parametrize("kind", ["folder", "in parts", "list"])
def test_the_side_and_group_that_a_layout_gives_are_those_of_now(tmp_path: Path, kind: str) -> None:
    """They go by what a source lists now; the store, and a part that was checked before, know nothing of them."""
    for name, said in (("one", [(n, "test", "old") for n, _, _ in SAID]), ("two", SAID)):
        lines = [Candidate(lambda n=n: picture(n), f"{side}/{n}", side=side, group=g) for n, side, g in said]

        class Lines(FileSet):
            def names(self, number: int = 0, of: int = 1) -> Iterator[str]:
                return map(str, range(len(SAID)))

            def candidate(self, name: str, lines: list[Candidate] = lines) -> Candidate:
                return lines[int(name)]

        source = replace(
            registry.find("folder"),
            candidates=lambda _, lines=lines: iter(lines),
            local=kind != "list",
            is_list=kind == "list",
            files=lambda _, kind=Lines: {"lines": kind(tmp_path, "lines")},
        )
        parts, out, request = [], tmp_path / name, Request("grass", "grass", 0, tmp_path, tmp_path / "data")
        out.mkdir()
        if kind == "in parts":
            parts = [tmp_path / "part"]
            if name == "one":
                parts[0].mkdir()
                checking.check(source, request, 0, 1, parts[0], quiet)
        collect(source, request, out, {}, quiet, shards=parts)
    rows = {
        row.file_url: (row.given_side, row.group) for row in read_jsonl(out / "manifest.jsonl", PictureRow)
    }
    assert rows == {f"{side}/{n}": (side, g) for n, side, g in SAID if (n, side) != (2, "train")}
    (refused,) = read_jsonl(out / "rejected.jsonl", Refusal)
    assert (refused.file_url, refused.message) == ("train/2", "the same file as valid/2")


def test_a_picture_without_side_and_group_has_the_line_that_it_always_had(lists: Path) -> None:
    collected(lists, "one")
    assert "given_side" not in (lists / "one/manifest.jsonl").read_text()
    assert '"license": null' in (lists / "one/manifest.jsonl").read_text()


def own(
    candidates: Iterable[Candidate], out: Path, limit: int = 0, on_progress: OnProgress = quiet
) -> tuple[list[PictureRow], list[Refusal]]:
    """What is collected of these, as of a person's own list."""
    out.mkdir()
    source = Source("own", "", lambda request: iter(candidates), is_list=True)
    collect(source, Request("x", "x", limit, root=out.parent / "data"), out, {}, on_progress)
    return read_jsonl(out / "manifest.jsonl", PictureRow), read_jsonl(out / "rejected.jsonl", Refusal)


def test_one_that_takes_long_holds_up_none(tmp_path: Path) -> None:
    """Nor would a kill meanwhile lose the others."""
    origins, others_came = tmp_path / "data/collected/x/origins.jsonl", Event()

    def told(share: float, words: str) -> None:
        if words == f"x: {2 * checking.WINDOW} pictures":
            assert len(origins.read_bytes().splitlines()) == 2 * checking.WINDOW
            others_came.set()

    def late() -> bytes:
        if not others_came.wait(60):
            raise Unavailable("slow", "it waited for the others, and they for it")
        return picture(0)

    soon = (Candidate(partial(picture, n), f"{n}") for n in range(1, 2 * checking.WINDOW + 1))
    rows, refusals = own([Candidate(late, "0"), *soon], tmp_path / "out", on_progress=told)
    assert (len(rows), refusals) == (2 * checking.WINDOW + 1, [])


def test_no_more_are_asked_for_than_are_missing(tmp_path: Path) -> None:
    asked: list[int] = []

    def load(number: int) -> bytes:
        asked.append(number)
        return picture(number) if number % 2 else b"no picture"

    many = (Candidate(partial(load, n), f"{n}") for n in range(1000))
    rows, refusals = own(many, tmp_path / "out", 30)
    assert len(rows) == 30 and len(asked) == 30 + len(refusals) <= 30 + 31


def test_of_the_same_picture_the_address_that_stands_first_is_kept_whichever_comes_first(
    tmp_path: Path,
) -> None:
    second_came = Event()

    def first() -> bytes:
        assert second_came.wait(60)
        return picture(99)

    def second() -> bytes:
        second_came.set()
        return picture(99)

    rest = [Candidate(partial(picture, n), f"{n}") for n in range(10)]
    rows, refusals = own([Candidate(first, "first"), Candidate(second, "second"), *rest], tmp_path / "out")
    assert {"first"} == {row.file_url for row in rows} - {f"{n}" for n in range(10)}
    assert refusals == [Refusal("duplicate", "the same file as first", "second")]


def test_so_many_are_decoded_at_once_as_there_are_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture may take 200 MB while it is decoded, and many more are under way."""
    real, lock, now, most = looking.examine, Lock(), 0, 0

    def examine(*args: str) -> PictureRow:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return real(*args)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(looking, "examine", examine)
    rows, _ = own((Candidate(partial(picture, n, 200), f"{n}") for n in range(60)), tmp_path / "out")
    assert len(rows) == 60 and 1 <= most <= (os.cpu_count() or 1)
