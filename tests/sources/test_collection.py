"""Collecting: what a collection holds, what is said while it goes on, what is an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import checking, registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Candidate, Request, SourceError
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
        ("something", r"there is no source 'something': expected one of bing, .*sample"),
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

        def named(top: Path, names: Iterable[str], lines: list[Candidate] = lines) -> Iterator[Candidate]:
            return (lines[int(name)] for name in names)

        source = replace(
            registry.find("folder"),
            candidates=lambda _, lines=lines: iter(lines),
            local=kind != "list",
            is_list=kind == "list",
            named=named,
        )
        parts, out = [], tmp_path / name
        out.mkdir()
        if kind == "in parts":
            parts = [tmp_path / "part"]
            if name == "one":
                parts[0].mkdir()
                names = [str(number) for number in range(len(lines))]
                checking.check(source, tmp_path, names, "grass", parts[0], quiet)
        collect(
            source, Request("grass", "grass", 0, tmp_path, tmp_path / "data"), out, {}, quiet, shards=parts
        )
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
