"""A request that is refused, for a person and for a program."""

from __future__ import annotations

from starlette.responses import JSONResponse

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.door import UnusablePicture

#: UnusablePicture's reasons as HTTP statuses.
PICTURE_STATUS = {"too-large": 413, "format": 415, "too-small": 422, "broken": 422}


class Problem(GreenrError):
    """A refusal: HTTP status, a short constant code, and a message that says what to do."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def as_json(self) -> dict[str, object]:
        return {"error": {"status": self.status, "code": self.code, "message": self.message}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.as_json(), self.status, self.headers)


def unusable(error: UnusablePicture) -> Problem:
    """The refusal of a request whose picture cannot be used."""
    return Problem(PICTURE_STATUS.get(error.reason, 422), f"picture-{error.reason}", str(error))


def busy(what: str) -> Problem:
    return Problem(503, "busy", f"the server is busy with other {what}: try again in a second", retry_after=1)
