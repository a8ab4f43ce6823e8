"""Taking in a request's pictures: in memory only, within a deadline and a budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
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


@dataclass(frozen=True)
class Upload:
    """What a request brought: pictures with their names, and the form's other fields."""

    pictures: list[tuple[str, bytes]]
    fields: Mapping[str, Any] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def fetched(request: Request[Any], address: str) -> AsyncIterator[Upload]:
    """The picture behind an address. Raises Problem as Fetcher.fetch does."""
    yield Upload([(address, await request.state["fetcher"].fetch(address))])


@contextlib.asynccontextmanager
async def uploaded(request: Request[Any], most: int = 1) -> AsyncIterator[Upload]:
    """The 1 to `most` pictures in the form fields `file`. Raises Problem: 400, 408, 413 or 503 "busy"."""
    intake: Intake = request.state["intake"]
    async with intake.hold(request, most_bytes(most)) as limited:
        form = await intake.read(limited.form(max_files=most, max_fields=8, max_part_size=MAX_FIELD))
        try:
            files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
            # A field that a browser sent empty is no picture.
            pictures = [
                (file.filename or "", await file.read()) for file in files if file.filename or file.size
            ]
            if not pictures:
                message = "no picture came: choose one and send it in the form field 'file'"
                raise Problem(400, "no-picture", message)
            yield Upload(pictures, form)
        finally:
            await form.close()


class Intake:
    """The budget of one worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0

    async def body(self, request: Request[Any]) -> bytes:
        """A small body, such as JSON. Raises Problem as `uploaded` does."""
        async with self.hold(request, OVERHEAD) as limited:
            return await self.read(limited.body())

    @contextlib.asynccontextmanager
    async def hold(self, request: Request[Any], most: int) -> AsyncIterator[Request]:
        """The request, with a body that is counted while it comes, whatever its Content-Length claims."""
        message = f"more than {most:,} bytes in one request: send less at once"
        too_large = Problem(413, "upload-too-large", message)
        claimed = content_length(request, most)
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await request.receive()
            size = len(message.get("body", b""))
            arrived += size
            self.held += size
            if arrived > most:
                raise too_large
            if self.held > max(self.settings.held_bytes, arrived):
                raise busy("uploads")
            return message

        if claimed > most:
            raise too_large
        # Only what has come is counted as held: a claim alone must not keep others out.
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
            why = error.detail.rstrip(".")
            if why.startswith("Too many files"):
                raise Problem(400, "upload-too-many", f"{why}: send fewer pictures at once") from None
            message = f"the form cannot be read ({why}): send multipart/form-data"
            raise Problem(400, "upload-malformed", message) from None


def most_bytes(pictures: int) -> int:
    """The most bytes of one request with so many pictures; never more than three of the largest take."""
    return MAX_BYTES * min(pictures, 3) + OVERHEAD


def without_charset(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A form's texts are read as UTF-8, which browsers send, whatever charset it claims: some of Python's other codecs
    raise errors that no decoder should, and some give half characters that cannot be written."""
    return [(name, CHARSET.sub(b"", value) if name == b"content-type" else value) for name, value in headers]


def content_length(request: Request[Any], unknown: int) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else unknown
