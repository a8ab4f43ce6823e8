"""A form with pictures, read as it comes: python-multipart finds the parts, and nothing of them touches a disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from greenr_luigi.web.problem import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

#: Fields beside the pictures, and bytes of each.
MAX_FIELDS, MAX_FIELD = 8, 4096


def boundary_of(content_type: str | None) -> bytes:
    """What stands between the parts of a form (RFC 2046, 5.1.1). Raises Problem for what holds no files."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise no_picture()
    if b"boundary" not in options:
        raise malformed("Missing boundary in multipart")
    return options[b"boundary"]


class Form:
    """`pictures`: names and content of the files in fields `file`. `fields`: the others that are no files; their texts
    are UTF-8, which browsers send, or else Latin-1, whatever charset they claim."""

    def __init__(self, boundary: bytes, most_files: int) -> None:
        self.pictures: list[tuple[str, bytes]] = []
        self.fields: dict[str, str] = {}
        self.most_files = most_files
        self.between, self.marks = b"\r\n--" + boundary, 0
        self.files = self.texts = 0
        self.begin()
        callbacks: MultipartCallbacks = {
            "on_part_begin": self.begin,
            "on_header_field": self.add_header_name,
            "on_header_value": self.add_header_value,
            "on_header_end": self.end_header,
            "on_headers_finished": self.end_headers,
            "on_part_data": self.add_data,
            "on_part_end": self.end,
        }
        try:
            self.parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise malformed("Invalid multipart data") from None

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Raises Problem: 400 "upload-malformed" or "upload-too-many"."""
        async for chunk in chunks:
            # The parser takes a microsecond for each, and a second for all that fit into a few megabytes.
            self.marks += chunk.count(self.between)
            if self.marks > self.most_files + MAX_FIELDS + 1:
                raise too_many(
                    f"the form has more parts than {self.most_files} pictures and {MAX_FIELDS} fields: send fewer"
                )
            try:
                self.parser.write(chunk)
            except FormParserError:
                raise malformed("Invalid multipart data") from None

    def begin(self) -> None:
        self.header_name = self.header_value = self.disposition = b""
        self.name = ""
        self.file: str | None = None
        self.data: list[bytes] = []
        self.size = 0

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self.header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header_value += data[start:end]

    def end_header(self) -> None:
        if self.header_name.lower() == b"content-disposition":
            self.disposition = self.header_value
        self.header_name = self.header_value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self.disposition)
        if b"name" not in options:
            raise malformed('The Content-Disposition header field "name" must be provided')
        self.name = text(options[b"name"])
        if b"filename" in options:
            self.file = text(options[b"filename"])
            self.files += 1
            if self.files > self.most_files:
                raise too_many(
                    f"Too many files. Maximum number of files is {self.most_files}: send fewer pictures at once"
                )
        else:
            self.texts += 1
            if self.texts > MAX_FIELDS:
                raise malformed(f"Too many fields. Maximum number of fields is {MAX_FIELDS}")

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        if self.file is None and self.size > MAX_FIELD:
            raise malformed(f"Part exceeded maximum size of {MAX_FIELD // 1024}KB")
        self.data.append(data[start:end])

    def end(self) -> None:
        data = b"".join(self.data)
        if self.file is None:
            self.fields[self.name] = text(data)
        # A field that a browser sent empty is no picture.
        elif self.name == "file" and (self.file or data):
            self.pictures.append((self.file, data))


def text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def no_picture() -> Problem:
    return Problem(400, "no-picture", "no picture came: choose one and send it in the form field 'file'")


def malformed(why: str) -> Problem:
    return Problem(400, "upload-malformed", f"the form cannot be read ({why}): send multipart/form-data")


def too_many(why: str) -> Problem:
    return Problem(400, "upload-too-many", why)
