"""Taking in a request's pictures: in memory only, within a deadline and a budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from greenr_luigi.pictures.door import MAX_BYTES
from greenr_luigi.web.problem import Problem, busy
from greenr_luigi.web.settings import Settings

Read = TypeVar("Read")
#: Room for the parts' headers and the small fields beside the pictures.
OVERHEAD = 64 * 1024
MAX_FIELD = 4096
CHARSET = re.compile(rb";\s*charset\s*=\s*(\"[^\"]*\"|[^;]*)", re.IGNORECASE)
# No upload touches the disk, not even for a moment; Starlette would spool what is over 1 MB.
MultiPartParser.spool_max_size = MAX_BYTES + OVERHEAD


class Intake:
    """The budget of one worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0

    @contextlib.asynccontextmanager
    async def form(self, request: Request[Any], files: int = 1) -> AsyncIterator[FormData]:
        """The request's form, at most `files` pictures in it. Raises Problem: 400, 408, 413 or 503 "busy"."""
        # A batch may be larger than one picture, and yet not as large as so many of the largest.
        async with self.hold(request, MAX_BYTES * min(files, 3) + OVERHEAD) as limited:
            form = await self.read(limited.form(max_files=files, max_fields=8, max_part_size=MAX_FIELD))
            try:
                yield form
            finally:
                await form.close()

    async def body(self, request: Request[Any]) -> bytes:
        """A small body, such as JSON. Raises Problem as `form` does."""
        async with self.hold(request, OVERHEAD) as limited:
            return await self.read(limited.body())

    @contextlib.asynccontextmanager
    async def hold(self, request: Request[Any], most: int) -> AsyncIterator[Request]:
        """Room for a request's body, which is counted while it comes and not believed."""
        claimed = content_length(request, most)
        arrived = 0

        def count(size: int) -> None:
            if size > most:
                raise Problem(
                    413, "upload-too-large", f"more than {most:,} bytes in one request: send less at once"
                )

        async def counted() -> Message:
            nonlocal arrived
            message = await request.receive()
            size = len(message.get("body", b""))
            arrived += size
            self.held += size
            count(arrived)
            if self.held > max(self.settings.held_bytes, arrived):
                raise busy("uploads")
            return message

        count(claimed)
        # What is only claimed keeps nobody else out.
        if self.held and self.held + claimed > self.settings.held_bytes:
            raise busy("uploads")
        try:
            headers = without_charset(request.scope["headers"])
            yield Request({**request.scope, "headers": headers}, counted)
        finally:
            self.held -= arrived

    async def read(self, reading: Awaitable[Read]) -> Read:
        """What was sent, in time and in form. Raises Problem."""
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                return await reading
        except TimeoutError:
            waited = f"{self.settings.body_seconds:g} seconds"
            raise Problem(
                408, "upload-slow", f"the upload did not arrive in {waited}: send a smaller picture"
            ) from None
        except ClientDisconnect:
            raise Problem(400, "upload-broken", "the upload broke off: try again") from None
        except HTTPException as error:
            if error.detail.startswith("Too many files"):
                why = f"{error.detail.rstrip('.')}: send fewer pictures at once"
                raise Problem(400, "upload-too-many", why) from None
            why = f"the form cannot be read ({error.detail.rstrip('.')}): send multipart/form-data"
            raise Problem(400, "upload-malformed", why) from None


def without_charset(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A form's texts are UTF-8, as browsers send them: of Python's other codecs some raise what no decoder should, and
    some make half characters that nothing can write."""
    return [(name, CHARSET.sub(b"", value) if name == b"content-type" else value) for name, value in headers]


async def uploads(form: FormData, field: str = "file") -> list[tuple[str, bytes]]:
    """Name and bytes of each picture in a field; a field that a browser sent empty is none."""
    found = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    return [(one.filename or "", await one.read()) for one in found if one.filename or one.size]


def content_length(request: Request[Any], unknown: int) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else unknown
