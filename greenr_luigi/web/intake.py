"""Taking in a request's pictures: in memory only, within a deadline and a budget of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from greenr_luigi.pictures import MAX_BYTES
from greenr_luigi.web.problem import Problem, busy
from greenr_luigi.web.settings import Settings

#: Room for the parts' headers and the small fields beside the pictures.
OVERHEAD = 64 * 1024
MAX_FIELD = 4096
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
        most = MAX_BYTES + OVERHEAD
        too_large = Problem(
            413, "upload-too-large", f"more than {most:,} bytes in one request: send less at once"
        )
        claimed = content_length(request, most)
        if claimed > most:
            raise too_large
        if self.held and self.held + claimed > self.settings.held_bytes:
            raise busy("uploads")
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await request.receive()
            arrived += len(message.get("body", b""))
            if arrived > most:
                raise too_large
            return message

        self.held += claimed
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                form = await Request(request.scope, counted).form(
                    max_files=files, max_fields=8, max_part_size=MAX_FIELD
                )
        except TimeoutError:
            seconds = f"{self.settings.body_seconds:g} seconds"
            raise Problem(
                408, "upload-slow", f"the upload did not arrive in {seconds}: send a smaller picture"
            ) from None
        except ClientDisconnect:
            raise Problem(400, "upload-broken", "the upload broke off: try again") from None
        except HTTPException as error:
            message = f"the form cannot be read: {error.detail} Send multipart/form-data"
            raise Problem(400, "upload-malformed", message) from None
        else:
            yield form
        finally:
            self.held -= claimed


async def uploads(form: FormData, field: str = "file") -> list[tuple[str, bytes]]:
    """Name and bytes of each picture in a field; a field that a browser sent empty is none."""
    found = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
    return [(one.filename or "", await one.read()) for one in found if one.filename or one.size]


def content_length(request: Request[Any], unknown: int) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else unknown
