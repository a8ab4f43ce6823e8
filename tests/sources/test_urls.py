"""Lists of addresses, as text and as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import download
from greenr_luigi.sources.source import SourceError, Unavailable
from greenr_luigi.sources.urls import listed, reads
from tests.sources.collecting import collect_from
from tests.sources.conftest import Internet

URL = "https://pictures.example/{}.jpg"


def addresses(folder: Path, label: str) -> list[str]:
    return [entry.address for entry in listed(folder, label)[1]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grün.txt", "# my list\n\nhttp://a.example/1,2.jpg?x=1\n  http://a.example/3.jpg  \n"),
        ("grün.txt", '\ufeffhttp://a.example/1,2.jpg?x=1\r\nhttp://a.example/3.jpg"'.replace('"', "")),
        ("gru\u0308n.TXT", "http://a.example/1,2.jpg?x=1\nhttp://a.example/3.jpg"),
        ("grün.Tsv", "text\turl\na\thttp://a.example/1,2.jpg?x=1\nb\thttp://a.example/3.jpg"),
        ("grün.csv", '"http://a.example/1,2.jpg?x=1"\nhttp://a.example/3.jpg\n'),
        ("grün.csv", 'name,url\none,"http://a.example/1,2.jpg?x=1"\ntwo,http://a.example/3.jpg\n'),
    ],
)
def test_a_file_a_class(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert addresses(tmp_path, "grün") == ["http://a.example/1,2.jpg?x=1", "http://a.example/3.jpg"]


def test_one_table_for_all(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("url,Label\nhttp://a/1,gru\u0308n\nhttp://a/2,a/b\n", encoding="utf-8")
    assert addresses(path, "a/b") == ["http://a/2"]
    assert addresses(path, "grün") == addresses(path, "gru\u0308n") == ["http://a/1"]
    with pytest.raises(SourceError, match=r"all.csv has no line with the label 'a/c': did you mean a/b\?"):
        addresses(path, "a/c")


def test_what_is_no_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no list for 'a/b': .*; list addresses in a%2Fb\.txt there"):
        addresses(tmp_path, "a/b")
    (tmp_path / "all.csv").write_text("http://a/1\n")
    with pytest.raises(GreenrError, match="expected a header with the columns label,url"):
        addresses(tmp_path / "all.csv", "grass")


def test_a_class_is_made_from_its_own_list_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "moss.txt").touch()
    assert [*reads("grass", tmp_path, Path()).values()] == [tmp_path / "grass.txt"]
    (tmp_path / "grass.csv").touch()
    assert [*reads("grass", tmp_path, Path()).values()] == [tmp_path / "grass.csv"]
    assert [*reads("grass", tmp_path / "moss.txt", Path()).values()] == [tmp_path / "moss.txt"]
    (tmp_path / "Gras.CSV").touch()
    assert [*reads("Gras", tmp_path, Path()).values()] == [tmp_path / "Gras.CSV"]


def collected(folder: Path, out: Path, root: Path | None = None) -> dict[str, object]:
    return collect_from("urls", "grass", out, 20, folder, root=root)


def test_collects_a_list(internet: Internet, tmp_path: Path) -> None:
    lines = [
        *map(URL.format, [*range(11), 1001, 3]),
        "ftp://pictures.example/5.jpg",
        "pictures/5.jpg",
        "https://nowhere.example/1.jpg",
    ]
    (tmp_path / "grass.txt").write_text("\n".join(lines))
    assert collected(tmp_path, tmp_path / "out") == {"pictures": 11, "new": 11, "refused": 4}
    refusals = {row.file_url: row for row in read_jsonl(tmp_path / "out/rejected.jsonl", Refusal)}
    assert [refusals[url].reason for url in lines[-5:] if url in refusals] == [
        "http-404",
        "address",
        "address",
        "network",
    ]
    assert [refusals[url].message.split(": ")[0] for url in (URL.format(1001), *lines[-3:])] == [
        f"grass.txt, line {line}" for line in (12, 14, 15, 16)
    ]
    assert "no host nowhere.example" in refusals[lines[-1]].message


def test_other_classes_lines_of_one_list_change_nothing_and_have_nothing_fetched(
    internet: Internet, tmp_path: Path
) -> None:
    path, lines = tmp_path / "all.csv", ["label,url", *(f"grass,{URL.format(n)}" for n in range(12))]
    made = []
    for moss in ([], [f"moss,{URL.format(20)}"]):
        path.write_text("\n".join([*lines, *moss]))
        out = tmp_path / f"out-{len(made)}"
        assert collected(path, out, tmp_path / "data")["pictures"] == 12
        made.append([(out / name).read_bytes() for name in (MANIFEST, REJECTED)])
    assert made[0] == made[1]
    assert len(internet.asked) == 12


def test_what_a_list_says_of_groups_and_sides_counts_as_it_says_it_now(
    internet: Internet, tmp_path: Path
) -> None:
    for time in ("one", "two"):
        lines = [f"{URL.format(n)},{time}{n // 3 or ''},{('train', 'test')[n % 2]}" for n in range(12)]
        (tmp_path / "grass.csv").write_text("\n".join(["url,group,split", *lines]))
        collected(tmp_path, tmp_path / time)
        rows = {row.file_url: row for row in read_jsonl(tmp_path / time / "manifest.jsonl", PictureRow)}
        assert [rows[URL.format(n)].group for n in (0, 2, 3, 11)] == [time, time, f"{time}1", f"{time}3"]
        assert [rows[URL.format(n)].given_side for n in (0, 11)] == ["train", "test"]
    assert len(internet.asked) == 12


def test_what_left_the_list_leaves_and_what_died_stays(internet: Internet, tmp_path: Path) -> None:
    (tmp_path / "grass.txt").write_text("\n".join(map(URL.format, range(14))))
    collected(tmp_path, tmp_path / "one")
    (tmp_path / "grass.txt").write_text("\n".join(map(URL.format, range(2, 15))))
    alive = internet.hosts["pictures.example"]
    internet.hosts["pictures.example"] = lambda path, q: alive(path, q) if path == "/14.jpg" else (404, b"")
    assert collected(tmp_path, tmp_path / "two") == {"pictures": 13, "new": 1, "refused": 0}
    rows = read_jsonl(tmp_path / "two/manifest.jsonl", PictureRow)
    assert {row.file_url for row in rows} == {URL.format(n) for n in range(2, 15)}
    assert all((tmp_path / "two" / row.file).is_file() for row in rows)


def test_a_picture_takes_neither_memory_nor_time_without_end(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable) as slow:
        download.fetch(download.Session(seconds=0), URL.format(1))
    monkeypatch.setattr(download, "MAX_BYTES", 0)
    with pytest.raises(Unavailable) as too_large:
        download.fetch(download.Session(), URL.format(1))
    assert (slow.value.reason, too_large.value.reason) == ("slow", "too-large")
