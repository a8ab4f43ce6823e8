"""Lists as people and programs write them: whichever way, the same is read."""

from __future__ import annotations

import codecs
import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenr_luigi.errors import GreenrError
from greenr_luigi.lists import Entry, entries
from greenr_luigi.text import composed

ADDRESSES = st.from_regex(r"https?://[a-z]{1,9}\.example/[a-z0-9,;=?&é'\"]{0,20}x\.jpg", fullmatch=True)
LABELS = st.sampled_from(["grass", "gru\u0308n", "a, b; c", 'the "best"', "長い草", "a#b"])
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-32": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
EXAMPLES = 30
#: What says nothing.
BESIDE = st.lists(
    st.sampled_from(["", '# a comment, "of no use; http://no.example/1.jpg', "   ", "\t"]), max_size=2
)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(LABELS, ADDRESSES), min_size=1, max_size=6),
    columns=st.sampled_from(["url", "label,url", "url,label", "number,label,url,text"]),
    header=st.booleans(),
    separator=st.sampled_from("\t;,"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    encoding=st.sampled_from([*ENCODINGS]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    name=st.sampled_from(["grass.txt", "grass.CSV"]),
    beside=BESIDE,
)
def test_however_a_list_is_written_the_same_is_read(
    tmp_path: Path, rows: list[tuple[str, str]], columns: str, header: bool, separator: str, quoting: int,
    encoding: str, end: str, name: str, beside: list[str],
) -> None:  # fmt: skip
    names = columns.split(",")
    labelled = "label" in names
    # Only a header can say which of more than two columns is which, or which of two separators an address's own.
    others = any(set("\t;,".replace(separator, "")) & {*url, *label} for label, url in rows)
    header = header or len(names) > 2 or (names == ["url", "label"] and others)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
    if header:
        writer.writerow(names)
    for label, url in rows:
        cells = {"label": label, "url": url, "number": "1", "text": "so; it, is"}
        writer.writerow([cells[name] for name in names])
    lines = [*beside, *(each for line in text.getvalue().splitlines() for each in (line, *beside))]
    path = tmp_path / name
    path.write_bytes(ENCODINGS[encoding] + "".join(line + end for line in lines).encode(encoding))
    at = [number for number, line in enumerate(lines, 1) if "http" in line and not line.startswith("#")]
    assert entries(path, labelled) == [
        Entry(url, composed(label) if labelled else "", number)
        for (label, url), number in zip(rows, at, strict=True)
    ]


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ADDRESSES, min_size=1, max_size=6), header=st.booleans(), label=st.booleans())
def test_an_address_without_quotes_keeps_its_commas(
    tmp_path: Path, rows: list[str], header: bool, label: bool
) -> None:
    rows = [row.replace('"', "") for row in rows]
    before = "grass," if label else ""
    head = ["label,url" if label else "url"] if header else []
    (tmp_path / "grass.csv").write_text(
        "\n".join([*head, *(f"{before}{row}" for row in rows)]), encoding="utf-8"
    )
    assert [entry.address for entry in entries(tmp_path / "grass.csv", label)] == rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Relative ones, too, and lines that lack something, are told with their number.
        ("\n1.jpg\nhttp://a/2.jpg\n", [("1.jpg", "", 2), ("http://a/2.jpg", "", 3)]),
        ("label,url\ngrass;http://a/1\n", [("grass;http://a/1", "grass;http://a/1", 2)]),
        # As Excel writes it: what separates, empty cells behind, blanks, and a text of two lines.
        (
            'sep=;\nURL ;Class;Text;;\nhttp://a/1 ; grass;"a\nb";;\nhttp://a/2;moss;;;\n',
            [("http://a/1", "grass", 3), ("http://a/2", "moss", 5)],
        ),
        ("url,text\nhttp://a/1,nice, green\n", [("http://a/1", "", 2)]),
        ("url,label\nhttp://a/1,2,grass\n", [("http://a/1,2", "grass", 2)]),
        ("http://a/1\tgrass\n", [("http://a/1", "", 1)]),
        ('grass, "http://a/1,2" \n', [("http://a/1,2", "grass", 1)]),
        ("# nothing\n", []),
        # A header by other names, and in words of its own.
        ("Category;Image URL\ngrass;http://a/1\n", [("http://a/1", "grass", 2)]),
        ("width,species,imageURL\n9,grass,http://a/1\n", [("http://a/1", "grass", 2)]),
        ("Klasse;Adresse\ngrass;http://a/1\n", [("http://a/1", "grass", 2)]),
        ('"sep=,"\nlabel,url\ngrass,http://a/1\n', [("http://a/1", "grass", 3)]),
        # What belongs together, and where it stands.
        (
            "url;Group ID;is_valid\nhttp://a/1;Blu\u0308te;1\nhttp://a/2;;\nhttp://a/3\n",
            [
                ("http://a/1", "", 2, "Blüte", ("isvalid", "1")),
                ("http://a/2", "", 3, "", ("isvalid", "")),
                ("http://a/3", "", 4, "", ("isvalid", "")),
            ],
        ),
        # A relative address in the first line is no header.
        ("grass,1.jpg\ngrass,http://a/2\n", [("1.jpg", "grass", 1), ("http://a/2", "grass", 2)]),
        # Comments behind an address, and what is for a browser alone.
        ("http://a/1 # nice\nhttp://a/1#top\n", [("http://a/1", "", 1), ("http://a/1", "", 2)]),
        # Of a line without an address, all is told; one of empty cells says nothing.
        ("label,url\ngrass,\n,\ngrass,#\n", [("grass,", "grass", 2), ("grass,#", "grass", 4)]),
        # Put together from lists that have marks.
        ("\ufefflabel,url\n\ufeffgrass,http://a/1\n", [("http://a/1", "grass", 2)]),
    ],
)
def test_odd_lists(tmp_path: Path, text: str, expected: list[tuple[Any, ...]]) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert entries(tmp_path / "a.csv") == [Entry(*each) for each in expected]


def test_a_list_for_all_classes_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("http://a/1;2;grass\nhttp://a/3;moss\n")
    assert entries(tmp_path / "a.csv", labelled=True) == [
        Entry("http://a/1;2", "grass", 1),
        Entry("http://a/3", "moss", 2),
    ]


def test_of_two_separators_only_a_header_says_which_is_an_address_s_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("http://a/1;2.jpg,grass\n")
    with pytest.raises(GreenrError, match="expected a header with the columns label,url"):
        entries(tmp_path / "a.csv", labelled=True)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine/moss").mkdir(parents=True)
    (tmp_path / "mine/moss/1.jpg").write_text("http://a/1")
    archive = Path(shutil.make_archive(f"{tmp_path / 'all'}", kind, tmp_path / "mine"))
    with pytest.raises(GreenrError, match=r"is an archive, .*: unpack it"):
        entries(archive, labelled=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "url\nhttp://a/grün\n".encode("latin-1"),
            r"line 2 is not in UTF-8 and may be in Latin-1 .*: iconv -f",
        ),
        (codecs.BOM_UTF16_LE + b"a", "line 1 is no text in UTF-16-LE: save the list as UTF-8$"),
        ("url\rhttp://a/1\rhttp://a/ü\r".encode("latin-1"), r"line 3 is not in UTF-8"),
        ("url\nhttp://a/1\n".encode("utf-16-le") + b"\0\xd8" + bytes(2), "line 3 is no text in UTF-16-LE"),
        (b"\x00\x01\x02\x03" * 9, "is no text: expected a list"),
        (b'label,url\n\ngrass,"http://a/1\nmoss,http://a/2\n', "line 3 cannot be read .*: close its quotes"),
    ],
)
def test_what_is_no_list_is_refused_with_what_to_do(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(GreenrError, match=words):
        entries(tmp_path / "a.csv")
