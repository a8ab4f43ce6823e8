"""What a folder or a list asks for, whatever lies in it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.errors import GreenrError
from greenr_luigi.prediction.inputs import inputs
from tests import tiny_release
from tests.staleness.test_regular import in_the_place_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def paths(given: str, written: Path | None = None) -> list[str]:
    return [one.path for one in inputs(Path(given), written)]


def test_a_folder_at_any_depth_in_the_order_of_names_but_for_what_systems_put_beside_pictures() -> None:
    put("f/b.jpg", "f/a.jpg", "f/notes.txt", "f/sub/deep/c.png", "f/a/z.jpg")
    put("f/.DS_Store", "f/Thumbs.db", "f/sub/desktop.ini", "f/__MACOSX/._a.jpg", "f/.git/x.jpg")
    (Path("f") / "loop").symlink_to(".")
    (Path("f") / "dead.jpg").symlink_to("nowhere")
    expected = ["f/a.jpg", "f/b.jpg", "f/dead.jpg", "f/notes.txt", "f/a/z.jpg", "f/sub/deep/c.png"]
    assert paths("f") == paths("f/") == expected


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "circle"])
def test_what_is_no_file_is_named_and_not_opened(kind: str) -> None:
    put("f/a.jpg")
    os.chdir("f")
    in_the_place_of(Path("b.jpg"), kind)
    assert paths(".") == ["./a.jpg", "./b.jpg"]


def test_the_file_that_the_rows_go_to_is_none_of_them() -> None:
    put("f/a.jpg", "f/out.csv", "f/sub/out.csv")
    assert paths("f", (Path("f") / "out.csv").resolve()) == ["f/a.jpg", "f/sub/out.csv"]


def test_a_folder_that_cannot_be_listed_is_named_with_the_reason() -> None:
    """As one whose path has more bytes than the system takes, which no mode of a file can be for root."""
    put("f/a.jpg")
    deep = os.open("f", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    first, last = inputs(Path("f"))
    assert first == ("f/a.jpg", "f/a.jpg", "") and last.path.startswith("f/ddd")
    assert last.fault == "the folder cannot be listed: File name too long"


def test_a_list_line_by_line_from_the_working_folder_or_from_its_own() -> None:
    put("a.jpg", "lists/b b.jpg")
    text = "\ufeffa.jpg\r\n# a comment\r\n\r\n  b b.jpg \nHTTPS://example.org/c.jpg\nnone.jpg\na.jpg"
    Path("lists/list.txt").write_text(text, newline="")
    assert [(one.path, one.file) for one in inputs(Path("lists/list.txt"))] == [
        ("a.jpg", "a.jpg"),
        ("b b.jpg", "lists/b b.jpg"),
        ("HTTPS://example.org/c.jpg", "HTTPS://example.org/c.jpg"),
        ("none.jpg", "none.jpg"),
        ("a.jpg", "a.jpg"),
    ]


@pytest.mark.parametrize(("on_disk", "listed"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_a_list_finds_names_however_their_accents_are_composed(on_disk: str, listed: str) -> None:
    name = unicodedata.normalize(on_disk, "Gänse/blümchen.jpg")
    put(f"Bücher/{name}")
    word = unicodedata.normalize(listed, name)
    Path("Bücher/list.txt").write_text(f'{word}\n"{word}"\n')
    assert [one.file for one in inputs(Path("Bücher/list.txt"))] == [f"Bücher/{name}"] * 2


def test_a_list_with_quotes_and_with_addresses_that_are_not_of_the_web() -> None:
    put("a.jpg", "lists/b.jpg", '"c.jpg"')
    Path("lists/list.txt").write_text(
        '"a.jpg"\n"b.jpg"\n"c.jpg"\n"https://example.org/c.jpg"\n""\nftp://x/y.jpg\nfile:///a.jpg\ndata:,x\n'
    )
    found = [*inputs(Path("lists/list.txt"))]
    assert [one.file for one in found[:5]] == [
        "a.jpg", "lists/b.jpg", '"c.jpg"', "https://example.org/c.jpg", '""',
    ]  # fmt: skip
    assert found[0].path == '"a.jpg"' and not any(one.fault for one in found[:5])
    assert all(one.fault.endswith("http:// or https:// are fetched") for one in found[5:])


def test_a_list_in_utf_16() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        Path("list").write_bytes("grün.jpg\r\nhttps://example.org/c.jpg\r\n".encode(encoding))
        assert paths("list") == ["grün.jpg", "https://example.org/c.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        "url\n{0}\n{1}\n",
        "file_name,label\na.jpg,grass\n{0},grass\n",
        "Image Path;n\n{0};1\n\n# more\n'a;b #1.jpg';2\n",
        'id\tfile\n1\t"a, 1.jpg"\n2\t{0}\n',
        "sep=;\nlabel;link\ngrass;{0}\n;{1}\n",
        "grass,{0}\ndandelion,{1}\n",
        'label,url\ngrass,"{0}"\n\ngrass,b/none.jpg\n',
    ],
)
def test_a_table_is_read_as_lists_of_the_source_urls_are(text: str, encoding: str) -> None:
    put("a.jpg", "lists/a, 1.jpg", "a;b #1.jpg")
    urls = ("https://example.org/a,1.jpg", "https://example.org/b.jpg#x")
    Path("lists/list.csv").write_bytes(text.replace("'", '"').format(*urls).encode(encoding))
    found = [*inputs(Path("lists/list.csv"))]
    known = {
        "a.jpg": "a.jpg",
        "a, 1.jpg": "lists/a, 1.jpg",
        "a;b #1.jpg": "a;b #1.jpg",
        "b/none.jpg": "b/none.jpg",
    }
    known |= {urls[0]: urls[0], "https://example.org/b.jpg": "https://example.org/b.jpg"}
    assert len(found) == 2
    assert all(known[one.path] == one.file for one in found)


def test_no_path_is_taken_for_a_header_and_none_for_a_table() -> None:
    put("photo", "a, 1.jpg", "a, 2.jpg", "a; 3.jpg")
    Path("list").write_text("photo\na, 1.jpg\na, 2.jpg\na; 3.jpg\n")
    assert paths("list") == ["photo", "a, 1.jpg", "a, 2.jpg", "a; 3.jpg"]
    Path("list").write_text("a, 1.jpg\nfile,path\n")
    assert paths("list") == ["a, 1.jpg", "file,path"]
    Path("list").write_text("https://example.org/a,1.jpg\tgrass\n")
    assert paths("list") == ["https://example.org/a,1.jpg"]


def test_a_table_in_latin_1_is_refused_by_its_line() -> None:
    Path("list.csv").write_bytes("file,label\na.jpg,grass\ngrün.jpg,grass\n".encode("latin-1"))
    with pytest.raises(GreenrError, match="line 3 is not in UTF-8"):
        [*inputs(Path("list.csv"))]


def test_names_of_any_bytes_are_found_and_told_in_unicode() -> None:
    name = os.fsdecode(b"f/\xfc\n.jpg")
    put(name)
    (one,) = inputs(Path("f"))
    assert one.file == name and one.path == "f/\\xfc\n.jpg"
    Path("list").write_bytes(b"\xfc.jpg\n")
    (line,) = inputs(Path("list"))
    assert line.file == os.fsdecode(b"\xfc.jpg") and line.path == "\\xfc.jpg"


def test_a_picture_in_place_of_a_list_is_that_picture() -> None:
    Path("one.jpg").write_bytes(tiny_release.picture())
    assert paths("one.jpg") == ["one.jpg"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a.jpg\n\0\0\n", "list is neither a picture nor text in UTF-8: expected a folder"),
        (b"a.jpg\n" + b"x" * 70_000, "list: line 2 has 65,536 characters or more: expected a folder"),
        (
            None,
            r"list cannot be read \(No such file or directory\): expected a folder of pictures, or a text file",
        ),
    ],
)
def test_what_is_no_list_is_said(content: bytes | None, words: str) -> None:
    if content is not None:
        Path("list").write_bytes(content)
    with pytest.raises(GreenrError, match=words):
        list(inputs(Path("list")))


def test_a_pipe_in_place_of_a_list_is_not_waited_for() -> None:
    os.mkfifo("list")
    with pytest.raises(GreenrError, match="it is a pipe, where a file is expected"):
        inputs(Path("list"))
