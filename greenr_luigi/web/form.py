"""A form with pictures, in memory only: no part of it touches a disk, not even for a moment."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

from python_multipart.multipart import parse_options_header

from greenr_luigi.web.problem import Problem

#: Fields beside the pictures, and bytes of each.
MAX_FIELDS, MAX_FIELD = 8, 4096
#: Bytes of a part's headers, and of what stands between parts (RFC 2046, 5.1.1 has 70).
MAX_HEAD, MAX_BOUNDARY = 4096, 256
#: What follows a boundary: the end, or a line's end.
AFTER = re.compile(rb"--|[ \t]|\r\n")
#: What browsers and programs write as Content-Type and Content-Disposition, or nearly all of them: without escapes, and
#: of a file's name no path. The library that reads all else takes 30 times as long.
KIND = re.compile(r"multipart/form-data; ?boundary=([A-Za-z0-9'+_.-]+)")
PART = re.compile(r'form-data; name="([^"\\]*)"(?:; filename="([^"\\]*)")?')
#: A header by its name and value (RFC 9110, 5.6.2 has the letters of a name).
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): *([^\r]*)")


def boundary_of(content_type: str | None) -> bytes:
    """What stands between the parts of a form (RFC 2046, 5.1.1). Raises Problem for what holds no files."""
    usual = KIND.fullmatch(content_type or "")
    kind, options = (
        (b"multipart/form-data", {b"boundary": usual[1].encode()})
        if usual
        else parse_options_header(content_type)
    )
    if kind != b"multipart/form-data":
        raise no_picture()
    if b"boundary" not in options:
        raise malformed("its boundary is missing")
    if len(options[b"boundary"]) > MAX_BOUNDARY:
        raise malformed(f"its boundary has more than {MAX_BOUNDARY} bytes")
    return options[b"boundary"]


class Form:
    """`pictures`: names and content of the files in fields `file`. `fields`: the others that are no files; their texts
    are UTF-8, which browsers send, or else Latin-1, whatever charset they claim."""

    def __init__(self, boundary: bytes, most_files: int) -> None:
        self.between = b"\r\n--" + boundary
        self.most_files = most_files
        self.pictures: list[tuple[str, bytes]] = []
        self.fields: dict[str, str] = {}

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Raises Problem: 400 "upload-malformed" or "upload-too-many"."""
        # As before every other part, there is a line's end before the first.
        body, marks = bytearray(b"\r\n"), 0
        async for chunk in chunks:
            # One may come in two.
            begin = max(len(body) - len(self.between) + 1, 0)
            body += chunk
            marks += body.count(self.between, begin)
            # More of them are not waited for.
            self.limit(marks)
        files = texts = 0
        for disposition, data in self.parts(body):
            options = options_of(disposition)
            if b"name" not in options:
                raise malformed('a part has no Content-Disposition with a "name"')
            name = text(options[b"name"])
            if b"filename" in options:
                files += 1
                if files > self.most_files:
                    raise too_many(f"more than {self.most_files} files came: send fewer pictures at once")
                file = text(options[b"filename"])
                # A field that a browser sent empty is no picture.
                if name == "file" and (file or data):
                    self.pictures.append((file, bytes(data)))
            else:
                texts += 1
                if texts > MAX_FIELDS:
                    raise malformed(f"more than {MAX_FIELDS} fields came")
                if len(data) > MAX_FIELD:
                    raise malformed(f"a field has more than {MAX_FIELD} bytes")
                self.fields[name] = text(bytes(data))

    def limit(self, marks: int) -> None:
        if marks > self.most_files + MAX_FIELDS + 1:
            more = f"more parts than {self.most_files} pictures and {MAX_FIELDS} fields"
            raise too_many(f"the form has {more}: send fewer")

    def parts(self, body: bytearray) -> Iterator[tuple[str, memoryview]]:
        """Each part's Content-Disposition and data; what follows the end is passed over."""
        view = memoryview(body)
        at = self.delimiter(body, 0)
        if at < 0 or body[:at].strip(b"\r\n"):
            raise malformed("it does not begin with its boundary")
        while not body.startswith(b"--", begin := at + len(self.between)):
            line = body.find(b"\r\n", begin)
            # A part without headers has none that names it.
            head = body.find(b"\r\n\r\n", line)
            if line < 0 or head < 0 or (at := self.delimiter(body, head + 4)) < 0:
                raise malformed("it breaks off")
            if head - line > MAX_HEAD or body[begin:line].strip(b" \t"):
                raise malformed("a part has no headers")
            yield disposition(bytes(view[line + 2 : head])), view[head + 4 : at]

    def delimiter(self, body: bytearray, start: int) -> int:
        """Where the next one begins (RFC 2046, 5.1.1), or -1."""
        at = body.find(self.between, start)
        while at >= 0 and not AFTER.match(body, at + len(self.between)):
            at = body.find(self.between, at + 1)
        return at


def disposition(head: bytes) -> str:
    """What a part's headers say of that."""
    found = ""
    for line in head.split(b"\r\n"):
        header = HEADER.fullmatch(line)
        if not header:
            raise malformed("a part's headers are broken")
        if header[1].lower() == b"content-disposition":
            found = header[2].decode("latin-1")
    return found


def options_of(disposition: str) -> dict[bytes, bytes]:
    """What a Content-Disposition says: "name", and "filename" of a file."""
    if not (usual := PART.fullmatch(disposition)):
        return parse_options_header(disposition)[1]
    given = {"name": usual[1], "filename": usual[2]}
    return {key.encode(): value.encode("latin-1") for key, value in given.items() if value is not None}


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
