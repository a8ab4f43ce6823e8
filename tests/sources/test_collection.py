"""Collecting: what a collection holds, what is said while it goes on, what is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.sources import registry
from greenr_luigi.sources.source import SourceError
from tests.sources.collecting import collect_from
from tests.sources.conftest import Internet

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
