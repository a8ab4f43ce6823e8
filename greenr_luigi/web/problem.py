"""A request that is refused, for a person and for a program."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from msgspec import Meta
from starlette.responses import JSONResponse

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.door import UnusablePicture

#: What programs may tell refusals by; docs/serving.md lists the same.
Code = Literal[
    "no-picture", "no-address", "show", "upload-malformed", "upload-broken", "upload-slow", "upload-too-large",
    "upload-too-many", "picture-format", "picture-broken", "picture-too-small", "picture-too-large",
    "address-refused", "address-unreachable", "address-slow", "address-disabled", "busy", "no-model", "too-slow",
    "feedback-off", "feedback-full", "foreign", "foreign-host", "too-often", "no-label", "not-found",
    "method-not-allowed", "refused", "internal",
]  # fmt: skip
#: UnusablePicture's reasons as HTTP statuses and codes.
UNUSABLE: dict[str, tuple[int, Code]] = {
    "too-large": (413, "picture-too-large"),
    "format": (415, "picture-format"),
    "too-small": (422, "picture-too-small"),
    "broken": (422, "picture-broken"),
}


class ProblemDetail(TypedDict):
    status: int
    code: Code
    message: Annotated[str, Meta(description="What to do, for a person.")]


class Error(TypedDict):
    error: ProblemDetail


class Problem(GreenrError):
    """A refusal: HTTP status, code, and a message that says what to do. `retry_after` in seconds."""

    def __init__(self, status: int, code: Code, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def as_json(self) -> Error:
        return {"error": {"status": self.status, "code": self.code, "message": self.message}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.as_json(), self.status, self.headers)


def unusable(error: UnusablePicture) -> Problem:
    """The refusal of a request whose picture cannot be used."""
    return Problem(*UNUSABLE[error.reason], str(error))


def busy(what: str) -> Problem:
    return Problem(503, "busy", f"the server is busy with other {what}: try again in a second", retry_after=1)


def made_room() -> Problem:
    message = "others needed the room meanwhile: send it again"
    return Problem(503, "busy", message, retry_after=1)
