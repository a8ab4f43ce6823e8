"""What visitors said of answers, kept beside the release store for a person to look through.

    feedback/<label>/<sha16>.<ext>    the picture, as it came; gone once `greenr review` has decided about it
    feedback/feedback.jsonl           a line a verdict

The web page writes it, `greenr review` reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from greenr_luigi import contracts, files, shared_files
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures import door, labels
from greenr_luigi.pictures.terms import STRANGERS, Terms
from greenr_luigi.serving.releases import now
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.traces import file_sha256

#: The label of a picture that shows none of the classes; no class can be named so, since labels are not empty.
NEITHER = ""
#: Its folder. No label's folder is called so: `labels.folder_name` writes % as %25.
NEITHER_FOLDER = "%none"
#: Bytes and pictures kept at most; then feedback is refused until a person has looked through it.
MOST_BYTES, MOST_PICTURES = 2 * 2**30, 250_000
LOG = "feedback.jsonl"


class FeedbackFull(GreenrError):
    """There is no room for more feedback."""


@dataclass(frozen=True)
class Kept:
    """How many pictures are kept, and their bytes."""

    pictures: int
    bytes: int

    def is_full(self, more: int, log_size: int) -> bool:
        return self.pictures >= MOST_PICTURES or self.bytes + more + log_size > MOST_BYTES


@dataclass(frozen=True)
class FeedbackRow:
    """A visitor's verdict. `file`: relative to the feedback folder; `label`: what the picture shows, or NEITHER;
    `predicted`: what release `release` answered, empty if unknown; `when`: ISO, UTC; `kept`: all that is kept with this
    verdict, so that nobody has to count it; more than there is once some has been removed."""

    file: contracts.Name
    label: str
    predicted: str
    release: str
    sha256: contracts.Sha256
    when: str = ""
    kept: Kept | None = None


def feedback_folder(store: Path) -> Path:
    """Where feedback about the releases of a store lies."""
    return regular.real(store).parent / "feedback"


def label_folder(label: str) -> str:
    """The folder of a verdict, named as every other folder of a label is."""
    return NEITHER_FOLDER if label == NEITHER else labels.folder_name(label)


def keep(
    folder: Path, data: bytes, label: str, predicted: str, release: str, terms: Terms = STRANGERS
) -> str:
    """Store a picture with a visitor's verdict; returns the file's name in the feedback folder.

    Raises UnusablePicture for bytes that are none, FeedbackFull when more than MOST_BYTES or MOST_PICTURES would be
    kept.
    """
    door.open_picture(data, at_least=1, terms=terms)
    digest = door.sha256(data)
    name = _stem(label, digest) + door.suffix(data)
    picture = folder / name
    files.refuse_link(picture.parent)
    files.private_folder(folder)
    files.private_folder(picture.parent)

    def line(last: bytes, log_size: int) -> bytes:
        new = not picture.exists()
        kept = counted(last)
        if kept is None or kept.is_full(len(data) * new, log_size):
            # Pictures may have been removed meanwhile.
            kept = count(folder)
        if kept.is_full(len(data) * new, log_size):
            raise FeedbackFull("there is no room for more feedback: tell who runs this page")
        kept = Kept(kept.pictures + new, kept.bytes + len(data) * new)
        return msgspec.json.encode(FeedbackRow(name, label, predicted, release, digest, now(), kept)) + b"\n"

    # The line first. A line without a picture is passed over; a picture without a line would never be looked at.
    shared_files.append_line(folder / LOG, line)
    if not picture.exists():
        files.write(picture, data)
    return name


def counted(line: bytes) -> Kept | None:
    """What was kept after a verdict; None if its line does not say."""
    try:
        return msgspec.json.decode(line, type=FeedbackRow).kept
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def count(folder: Path) -> Kept:
    """What is kept now: takes a second for 100,000 pictures."""
    # Hidden ones are being written by another process.
    sizes = [path.stat().st_size for path in folder.glob("*/[!.]*")]
    return Kept(len(sizes), sum(sizes))


def read(folder: Path) -> list[FeedbackRow]:
    """The verdicts about pictures that are still there as `keep` left them, the oldest first."""
    return [row for row in contracts.read_log(folder / LOG, FeedbackRow) if _kept(folder, row)]


def _kept(folder: Path, row: FeedbackRow) -> Path | None:
    """The picture that a line is about, if it is one that `keep` put there: anyone may have written the line, or put
    another file in its place."""
    with contextlib.suppress(labels.LabelError):
        path = files.own(folder, row.file)
        if (
            path
            and row.file == _stem(row.label, row.sha256) + path.suffix
            and file_sha256(path) == row.sha256
        ):
            return path
    return None


def remove_pictures(folder: Path, decided: Collection[str]) -> None:
    """Remove the pictures with these sha256, to make room for new ones."""
    for row in contracts.read_log(folder / LOG, FeedbackRow):
        # A verdict may stand there twice.
        if row.sha256 in decided and (path := _kept(folder, row)):
            path.unlink()


def _stem(label: str, sha256: str) -> str:
    """The name of a picture in the feedback folder, but for its suffix."""
    return f"{label_folder(label)}/{sha256[:16]}"
