"""Taking in a request's pictures: in memory only, within a deadline and a budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.web.form import Form, boundary_of, no_picture
from greenr_luigi.web.layers import client, header
from greenr_luigi.web.problem import Problem, busy, made_room
from greenr_luigi.web.settings import Settings

Read = TypeVar("Read")
#: Room for the parts' headers and the small fields beside the pictures.
OVERHEAD = 64 * 1024
#: Bytes that count as progress, and seconds without it after which an upload makes room for others.
STEP, HALTED = 4096, 2.0
#: Where a request's share of the budget stands in its state.
SHARE = "share"


@dataclass(frozen=True)
class Upload:
    """What a request brought: pictures with their names, and the form's other fields."""

    pictures: list[tuple[str, bytes]]
    fields: Mapping[str, str] = field(default_factory=dict)


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
    with intake.hold(request, most_bytes(most)) as (share, chunks):
        form = Form(boundary_of(header(request.scope, b"content-type")), most)
        await intake.read(share, form.read(chunks))
        if not form.pictures:
            raise no_picture()
        yield Upload(form.pictures, form.fields)


class Share:
    """What one request has of a worker's budget: the bytes of its pictures, from their coming to their answer. As a
    context manager it gives them back."""

    def __init__(self, intake: Intake, visitor: str = "") -> None:
        self.intake, self.visitor = intake, visitor
        self.size = 0
        #: When it was further by STEP bytes, by time.monotonic(), and how many there were then.
        self.moved, self.size_then = time.monotonic(), 0
        #: Of what is still coming; only that makes room.
        self.deadline: asyncio.Timeout | None = None
        self.has_made_room = False

    def __enter__(self) -> Share:
        self.intake.shares.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.intake.shares.discard(self)
        self.give_back()

    def add(self, size: int) -> None:
        """Count bytes that have come. Raises Problem: 503 "busy"."""
        self.size += size
        self.intake.held += size
        if self.size >= self.size_then + STEP:
            self.moved, self.size_then = time.monotonic(), self.size
        self.intake.make_room(self, 0)

    def coming(self, seconds: float | None) -> Coming:
        return Coming(self, seconds)

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


class Coming:
    """While something of a share comes, for `seconds` at most. Raises TimeoutError after these, and Problem: 503 "busy"
    if others need the room."""

    def __init__(self, share: Share, seconds: float | None) -> None:
        self.share, self.deadline = share, asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        self.share.deadline = await self.deadline.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.deadline.__aexit__(kind, error, trace)
        except TimeoutError:
            if self.share.has_made_room:
                raise made_room() from None
            raise
        finally:
            self.share.deadline = None


class Intake:
    """The budget of one worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0
        self.shares: set[Share] = set()

    def share(self, visitor: str = "") -> Share:
        return Share(self, visitor)

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
        with self.hold(request, OVERHEAD) as (share, chunks):
            return await self.read(share, joined(chunks))

    @contextlib.contextmanager
    def hold(self, request: Request[Any], most: int) -> Iterator[tuple[Share, AsyncIterator[bytes]]]:
        """A share for a request, and its body, which is counted while it comes, whatever its Content-Length claims."""
        claimed = content_length(request, most)
        if claimed > most:
            raise too_large(most)
        with self.share(client(request.scope)) as share:
            # For the worker, which may need the connection.
            request.scope["state"][SHARE] = share
            # Only what has come is counted as held: a claim alone must not keep others out.
            self.make_room(share, claimed)
            yield share, counted(request, share, most)

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


async def counted(request: Request[Any], share: Share, most: int) -> AsyncIterator[bytes]:
    """Raises Problem: 413 for more than so many bytes, and 503 "busy"; and ClientDisconnect."""
    arrived, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        arrived += len(chunk)
        if arrived > most:
            raise too_large(most)
        share.add(len(chunk))
        yield chunk


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def too_large(most: int) -> Problem:
    message = (
        f"more than {most:,} bytes in one request: send fewer or smaller pictures, of a movie a screenshot"
    )
    return Problem(413, "upload-too-large", message)


def most_bytes(pictures: int) -> int:
    """The most bytes of one request with so many pictures; never more than three of the largest take."""
    return MAX_BYTES * min(pictures, 3) + OVERHEAD


def content_length(request: Request[Any], unknown: int) -> int:
    text = header(request.scope, b"content-length")
    return int(text) if text.isascii() and text.isdigit() else unknown
