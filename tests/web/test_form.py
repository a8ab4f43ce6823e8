"""A form is read as Starlette reads it, however it is cut on its way, and refused where that refuses it."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header
from starlette import formparsers
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from greenr_luigi.web.form import KIND as USUAL
from greenr_luigi.web.form import MAX_FIELD, MAX_FIELDS, PART, Form, boundary_of, options_of
from greenr_luigi.web.problem import Problem

KIND = "multipart/form-data; boundary=b"
Read = tuple[list[tuple[str, bytes]], dict[str, str]]


def ours(chunks: Sequence[bytes], most: int, kind: str | None = KIND) -> Read | Problem:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    try:
        form = Form(boundary_of(kind), most)
        asyncio.run(form.read(arriving()))
    except Problem as problem:
        return problem
    return form.pictures, form.fields


class InMemory(io.BytesIO):
    """Starlette leaves files of parts without an end open, of which Python would warn."""

    _rolled, _max_size = False, 0

    def __init__(self, max_size: int) -> None:
        super().__init__()


def starlettes(chunks: Sequence[bytes], most: int, kind: str = KIND) -> Read | None:
    left = [*chunks]

    async def receive() -> Message:
        chunk = left.pop(0) if left else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    async def read() -> Read:
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())], "app": None}
        async with Request(scope, receive).form(
            max_files=most, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD
        ) as form:
            files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
            pictures = [(one.filename or "", await one.read()) for one in files if one.filename or one.size]
            return pictures, {key: text for key, text in form.multi_items() if isinstance(text, str)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formparsers, "SpooledTemporaryFile", InMemory)
        try:
            return asyncio.run(read())
        except HTTPException:
            return None


def part(name: bytes, data: bytes, file: bytes | None = None) -> bytes:
    filename = b"" if file is None else b'; filename="' + file + b'"'
    return (
        b'--b\r\nContent-Disposition: form-data; name="'
        + name
        + b'"'
        + filename
        + b"\r\n\r\n"
        + data
        + b"\r\n"
    )


names = st.sampled_from([b"file", b"label", b"", b"\xc3\xa4", b"\xe4"])
contents = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"", b"\r\n--", b"\r\n--b", b"--b--", b"a" * 5000])
)
parts = st.builds(part, names, contents, st.none() | names)
bodies = st.builds(
    lambda each, end: b"".join(each) + end,
    st.lists(parts, max_size=12),
    st.sampled_from([b"--b--\r\n", b"--b--", b"", b"--", b"more"]),
)
WHOLE = part(b"label", b"grass") + part(b"file", b"\xff\xd8", b"a.jpg") + b"--b--\r\n"


@given(
    bodies | st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=6), st.sampled_from([1, 2, 16])
)
@example(WHOLE, [], 1)
@example(WHOLE, [*range(len(WHOLE))], 1)
@example(part(b"x", b"") * (MAX_FIELDS + 1) + b"--b--", [], 1)
@example(part(b"file", b"x", b"a") * 2 + b"--b--", [], 1)
@example(b"--b\r\nX: y\r\n\r\nz\r\n--b--", [], 1)
def test_it_is_read_as_starlette_reads_it(body: bytes, cuts: list[int], most: int) -> None:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[begin:end] for begin, end in itertools.pairwise(edges)]
    found = ours(chunks, most)
    assert isinstance(found, Problem) or found == starlettes(chunks, most)


quoted = st.text('ab ;="\\\\*ä\xff', max_size=6).map(lambda value: f'"{value}"')
usual_names = st.text("ab ;=*ä\xff", max_size=6).map(lambda value: f'"{value}"')


@given(usual_names | quoted, st.none() | usual_names | quoted)
@example('"file"', '"a.jpg"')
@example('"file"', '"C:\\\\a.jpg"')
@example('"a"', '"b"; name="c"')
def test_what_is_written_usually_is_read_as_all_else(name: str, file: str | None) -> None:
    said = f"form-data; name={name}" + ("" if file is None else f"; filename={file}")
    assert options_of(said) == parse_options_header(said)[1]


@given(st.text("aB1'+_.-;=\" ", max_size=6))
@example("----WebKitFormBoundaryuL1tK3k")
def test_a_boundary_is_read_as_all_else(boundary: str) -> None:
    kind = f"multipart/form-data; boundary={boundary}"
    assert boundary_of(kind) == parse_options_header(kind)[1][b"boundary"]


def test_what_browsers_and_programs_write_is_usual() -> None:
    assert PART.fullmatch('form-data; name="file"; filename="DSC 01 (ä).JPG"') and PART.fullmatch(
        'form-data; name="label"'
    )
    assert all(
        USUAL.fullmatch(f"multipart/form-data; boundary={one}")
        for one in (
            "----WebKitFormBoundaryuL1tK3kAq0",
            "----geckoformboundary8e05d3",
            "------------------------d74496d66958873e",
            "0f0c1a7c6c6a4c0f9f4c6bb1",
            "=_x".strip("="),
        )
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["file", "label", "ä"]),
            st.binary(max_size=60),
            st.none() | st.text("aä. ", min_size=1),
        ),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_what_is_sent_comes(sent: list[tuple[str, bytes, str | None]], cut: int) -> None:
    sent = [
        (name, data if file else data.hex().encode(), file) for name, data, file in sent if b"--b" not in data
    ]
    each = [part(name.encode(), data, file and file.encode()) for name, data, file in sent]
    body = b"".join(each) + b"--b--\r\n"
    found = ours([body[at : at + cut] for at in range(0, len(body), cut)], 8)
    assert not isinstance(found, Problem)
    assert found[0] == [(file, data) for name, data, file in sent if file and name == "file"]
    assert found[1] == {name: data.decode() for name, data, file in sent if file is None}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (None, "no-picture"),
        ("image/jpeg", "no-picture"),
        ("application/x-www-form-urlencoded", "no-picture"),
        ("multipart/form-data", "upload-malformed"),
        ("multipart/form-data; boundary=" + "b" * 2000, "upload-malformed"),
    ],
)
def test_what_is_no_form_is_told(kind: str | None, code: str) -> None:
    problem = ours([WHOLE], 1, kind)
    assert isinstance(problem, Problem) and problem.code == code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        WHOLE[:-8],
        WHOLE[:40],
        b"--b--"[:-1],
        b"x" + WHOLE,
        b"--b\r\n\r\nx\r\n--b--",
        b"\r\n--b\r\n" * 5,
    ],
    ids=range(8),
)
def test_what_is_broken_is_told(body: bytes) -> None:
    problem = ours([body], 1)
    assert isinstance(problem, Problem) and problem.code == "upload-malformed"


@pytest.mark.parametrize("length", [1, 7, 9, 10_000])
def test_many_parts_are_told_however_they_are_cut(length: int) -> None:
    body = b"\r\n--bx&&" * 1000
    problem = ours([body[at : at + length] for at in range(0, len(body), length)], 1)
    assert isinstance(problem, Problem) and problem.code == "upload-too-many"
