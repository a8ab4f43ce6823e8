"""Why a picture is refused: one error, told apart by a short constant word."""

from __future__ import annotations

from greenr_luigi.errors import GreenrError

#: Of a file.
MAX_BYTES = 20 * 2**20
#: How Pillow and libheif say that a file ends too early.
CUT = ("truncated", "unexpected end of file")


class UnusablePicture(GreenrError):
    """Bytes that are no usable picture. `reason` is a short constant word, the message is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def unread(what: str) -> UnusablePicture:
    """`what` it is, with what to do about it."""
    return UnusablePicture("format", what)


def too_large(size: str, most: int) -> UnusablePicture:
    return UnusablePicture("too-large", f"{size}; at most {most:,} are read: shrink it first")


def broken(why: object) -> UnusablePicture:
    """`why`: our words, or an error of a decoder, in a line."""
    why = " ".join(str(why).split())
    if any(words in why.lower() for words in CUT):
        return UnusablePicture(
            "broken", "the picture breaks off before its end: copy or download it again, whole"
        )
    return UnusablePicture("broken", f"the picture cannot be read ({why}): save it anew and try again")
