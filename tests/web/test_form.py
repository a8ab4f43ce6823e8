"""A form is read as Starlette reads it, however it is cut on its way, and refused where that refuses it."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette import formparsers
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from greenr_luigi.web.form import MAX_FIELD, MAX_FIELDS, Form, boundary_of
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
    expected, found = starlettes(chunks, most), ours(chunks, most)
    if isinstance(found, Problem):
        assert expected is None or found.code == "upload-too-many"
        assert found.status == 400
    else:
        assert found == expected


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


def test_more_marks_than_parts_are_allowed_are_not_parsed() -> None:
    problem = ours([b"\r\n--b" * 1000], 1)
    assert isinstance(problem, Problem) and problem.code == "upload-too-many"
