"""Rows survive being written, the bytes depend on nothing else, and every label has a folder of its own."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenr_luigi.contracts import ContractError
from greenr_luigi.dataset.rows import Excluded, SplitRow
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.manifest import PictureRow, Refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
#: Of a file of ours: no part of it is hidden, or leads up.
PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=9)
NAME = st.lists(PART.filter(lambda part: part[0] != "."), min_size=1, max_size=3).map("/".join)
MAYBE = st.none() | TEXT.filter(bool)
HEX = st.text("0123456789abcdef", min_size=16, max_size=16)
COUNT = st.integers(0, 10**9)
ROW = {
    "file": NAME,
    "label": TEXT,
    **dict.fromkeys(["sha256", "dhash"], HEX),
    **dict.fromkeys(["width", "height", "bytes"], COUNT),
    "engine": TEXT,
    **dict.fromkeys(["query", "page_url", "file_url", "license", "author", "fetched"], MAYBE),
    "phash": HEX,
    **dict.fromkeys(["given_side", "group"], MAYBE),
}
anywhere = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)


def by_sha(row: PictureRow) -> str:
    return row.sha256


@pytest.mark.slow
@anywhere
@given(st.lists(st.builds(PictureRow, **ROW), max_size=6, unique_by=by_sha))
def test_pictures_survive_as_lines(tmp_path: Path, rows: list[PictureRow]) -> None:
    manifest.write_jsonl(tmp_path / "m", rows)
    first = (tmp_path / "m").read_bytes()
    assert manifest.read_jsonl(tmp_path / "m", PictureRow) == sorted(rows, key=by_sha)
    manifest.write_jsonl(tmp_path / "m", reversed(rows))
    assert (tmp_path / "m").read_bytes() == first


@pytest.mark.slow
@anywhere
@given(
    st.lists(
        st.builds(SplitRow, side=st.sampled_from(["train", "valid"]), **ROW), max_size=6, unique_by=by_sha
    )
)
def test_a_data_set_survives_as_a_table(tmp_path: Path, rows: list[SplitRow]) -> None:
    manifest.write_csv(tmp_path / "m", rows, SplitRow)
    first = (tmp_path / "m").read_bytes()
    read = manifest.read_csv(tmp_path / "m", SplitRow)
    assert sorted(read, key=by_sha) == sorted(rows, key=by_sha)
    manifest.write_csv(tmp_path / "m", read, SplitRow)
    assert (tmp_path / "m").read_bytes() == first


def test_columns_are_those_of_the_contract() -> None:
    assert manifest.columns(SplitRow)[:4] == ["file", "label", "side", "sha256"]
    assert manifest.columns(Excluded) == ["file", "label", "sha256", "reason", "detail", "group"]
    assert [f.name for f in dataclasses.fields(PictureRow)] == list(ROW)


def test_a_torn_file_is_an_error_that_says_where(tmp_path: Path) -> None:
    manifest.write_jsonl(tmp_path / "m", [Refusal("format", "no picture", "a"), Refusal("slow", "x", "b")])
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-9])
    with pytest.raises(ContractError, match=r"m, line 2: .*expected a Refusal: run the stage"):
        manifest.read_jsonl(tmp_path / "m", Refusal)
    (tmp_path / "m").write_text("file,label,sha256,reason\na,b,c,d\n")
    with pytest.raises(ContractError, match=r"line 1: it has no column detail; expected a Excluded"):
        manifest.read_csv(tmp_path / "m", Excluded)
    row = dict.fromkeys(manifest.columns(SplitRow), "1") | {"width": "wide"}
    (tmp_path / "m").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    with pytest.raises(ContractError, match=r"line 2: .*`int`.*width.*; expected a SplitRow"):
        manifest.read_csv(tmp_path / "m", SplitRow)


def test_rows_that_have_not_changed_are_read_once_and_changed_ones_at_once(tmp_path: Path) -> None:
    table = tmp_path / "m"
    rows = [Excluded(file, "a", "0", "rejected", "") for file in ("1", "2")]
    manifest.write_csv(table, rows, Excluded)
    first = manifest.read_csv(table, Excluded)
    again = manifest.read_csv(table, Excluded)
    assert [*map(id, again)] == [*map(id, first)]
    # Whoever sorts or adds to them has a list of their own.
    again.clear()
    assert manifest.read_csv(table, Excluded) == rows
    # Of the same size, in the same tick of the clock.
    status = table.stat()
    table.write_bytes(table.read_bytes().replace(b"\n2,", b"\n3,"))
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [row.file for row in manifest.read_csv(table, Excluded)] == ["1", "3"]
