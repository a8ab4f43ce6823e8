"""Taking in a request's pictures: in memory only, within a deadline and a budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.web.layers import client
from greenr_luigi.web.problem import Problem, busy, made_room
from greenr_luigi.web.settings import Settings

Read = TypeVar("Read")
#: Room for the parts' headers and the small fields beside the pictures.
OVERHEAD = 64 * 1024
MAX_FIELD, MAX_FIELDS = 4096, 8
#: Bytes that count as progress, and seconds without it after which an upload makes room for others.
STEP, HALTED = 4096, 2.0
#: Where a request's share of the budget stands in its state.
SHARE = "share"
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
    """The picture behind an address. Raises Problem as Fetcher.fetch does, and 503 "busy"."""
    intake, fetcher = request.state["intake"], request.state["fetcher"]
    with intake.share(client(request.scope)) as share:
        with fetcher.place(client(request.scope)):
            async with share.coming(None):
                data = await fetcher.fetch(address, share.add)
        yield Upload([(address, data)])


@contextlib.asynccontextmanager
async def uploaded(request: Request[Any], most: int = 1) -> AsyncIterator[Upload]:
    """The 1 to `most` pictures in the form fields `file`. Raises Problem: 400, 408, 413 or 503 "busy"."""
    intake: Intake = request.state["intake"]
    with intake.hold(request, most_bytes(most), most) as (limited, share):
        reading = limited.form(max_files=most, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD)
        form = await intake.read(share, reading)
        try:
            files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
            # A field that a browser sent empty is no picture.
            pictures = [
                (file.filename or "", await file.read()) for file in files if file.filename or file.size
            ]
        finally:
            # Or each picture would be in memory twice.
            await form.close()
        if not pictures:
            raise no_picture()
        yield Upload(pictures, form)


class Share:
    """What one request has of a worker's budget: the bytes of its pictures, from their coming to their answer."""

    def __init__(self, intake: Intake, visitor: str = "") -> None:
        self.intake, self.visitor = intake, visitor
        self.size = 0
        #: When it was further by STEP bytes, by time.monotonic(), and how many there were then.
        self.moved, self.size_then = time.monotonic(), 0
        #: Of what is still coming; only that makes room.
        self.deadline: asyncio.Timeout | None = None
        self.has_made_room = False

    def add(self, size: int) -> None:
        """Count bytes that have come. Raises Problem: 503 "busy"."""
        self.size += size
        self.intake.held += size
        if self.size >= self.size_then + STEP:
            self.moved, self.size_then = time.monotonic(), self.size
        self.intake.make_room(self, 0)

    @contextlib.asynccontextmanager
    async def coming(self, seconds: float | None) -> AsyncIterator[None]:
        """While something comes, for `seconds` at most. Raises TimeoutError after these, and Problem: 503 "busy" if
        others need the room."""
        try:
            async with asyncio.timeout(seconds) as self.deadline:
                yield
        except TimeoutError:
            if self.has_made_room:
                raise made_room() from None
            raise
        finally:
            self.deadline = None

    def is_coming(self) -> bool:
        return self.deadline is not None and not self.deadline.expired()

    def give_way(self) -> None:
        """End the coming, and give back what it had: others need the room."""
        if self.deadline is not None and self.is_coming():
            self.has_made_room = True
            self.deadline.reschedule(asyncio.get_running_loop().time())
            self.give_back()

    def give_back(self) -> None:
        self.intake.held -= self.size
        self.size = 0


class Intake:
    """The budget of one worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0
        self.shares: set[Share] = set()

    @contextlib.contextmanager
    def share(self, visitor: str = "") -> Iterator[Share]:
        share = Share(self, visitor)
        self.shares.add(share)
        try:
            yield share
        finally:
            self.shares.discard(share)
            share.give_back()

    def make_room(self, share: Share, more: int) -> None:
        """For what a share has and `more` bytes: the visitor who has most makes it, if that is more than this one would
        have, and else whoever has halted; each by what has gone longest without progress. Raises Problem: 503 "busy"
        if it cannot be made."""
        while share.size < self.held and self.held + more > self.settings.held_bytes:
            held = Counter[str]()
            for one in self.shares:
                held[one.visitor] += one.size
            others = [one for one in self.shares if one.size and one.is_coming() and one is not share]
            most = max((held[one.visitor] for one in others), default=0)
            leaving = [one for one in others if held[one.visitor] == most > held[share.visitor] + more]
            leaving = leaving or [one for one in others if time.monotonic() - one.moved >= HALTED]
            if not leaving:
                raise busy("uploads")
            min(leaving, key=lambda one: one.moved).give_way()

    async def body(self, request: Request[Any]) -> bytes:
        """A small body, such as JSON. Raises Problem as `uploaded` does."""
        with self.hold(request, OVERHEAD) as (limited, share):
            return await self.read(share, limited.body())

    @contextlib.contextmanager
    def hold(self, request: Request[Any], most: int, pictures: int = 0) -> Iterator[tuple[Request, Share]]:
        """The request, with a body that is counted while it comes, whatever its Content-Length claims; and so are its
        parts, if it is a form of so many `pictures`."""
        message = f"more than {most:,} bytes in one request: send fewer or smaller pictures, of a movie a screenshot"
        too_large = Problem(413, "upload-too-large", message)
        claimed, arrived, marks = content_length(request, most), 0, 0

        async def counted() -> Message:
            nonlocal arrived, marks
            message = await request.receive()
            body = message.get("body", b"")
            size = len(body)
            arrived += size
            if arrived > most:
                raise too_large
            # The parser takes a microsecond for each, and a second for all that fit into a few megabytes.
            marks += body.count(between) if pictures else 0
            if marks > pictures + MAX_FIELDS + 1:
                many = f"the form has more parts than {pictures} pictures and {MAX_FIELDS} fields: send fewer"
                raise Problem(400, "upload-too-many", many)
            share.add(size)
            return message

        if claimed > most:
            raise too_large
        between = mark(request) if pictures else b""
        with self.share(client(request.scope)) as share:
            # For the worker, which may need the connection.
            request.scope["state"][SHARE] = share
            # Only what has come is counted as held: a claim alone must not keep others out.
            self.make_room(share, claimed)
            headers = without_charset(request.scope["headers"])
            yield Request({**request.scope, "headers": headers}, counted), share

    async def read(self, share: Share, reading: Awaitable[Read]) -> Read:
        """What was sent, in time and in form. Raises Problem."""
        try:
            async with share.coming(self.settings.body_seconds):
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


def mark(request: Request[Any]) -> bytes:
    """What stands between the parts of a form (RFC 2046, 5.1.1). Raises Problem for what holds no files."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise no_picture()
    return b"\r\n--" + options.get(b"boundary", b"")


def no_picture() -> Problem:
    return Problem(400, "no-picture", "no picture came: choose one and send it in the form field 'file'")


def without_charset(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A form's texts are read as UTF-8, which browsers send, whatever charset it claims: some of Python's other codecs
    raise errors that no decoder should, and some give half characters that cannot be written."""
    return [(name, CHARSET.sub(b"", value) if name == b"content-type" else value) for name, value in headers]


def content_length(request: Request[Any], unknown: int) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else unknown
