"""The stamp: the file beside an output that says what it was made from."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from .code import CodeTrace
from .errors import StampError
from .traces import STAMP, FileTrace, Snapshot


class InputTrace(TypedDict):
    """What the output of a required stage was: the digest of its files, and its summary for people."""

    digest: str
    summary: dict[str, Any]


@dataclass(kw_only=True)
class Stamp:
    """What an output was made from."""

    title: str
    #: The parameters that shape the output, as on the command line.
    parameters: dict[str, str]
    #: By title of the required stage.
    inputs: dict[str, InputTrace]
    #: Files from outside the graph, by the name that the stage calls them.
    reads: dict[str, Snapshot]
    #: By source file.
    code: dict[str, CodeTrace]
    #: Installed versions; None for what is not installed.
    libraries: dict[str, str | None]
    #: Why the stage ran.
    because: str
    host: str
    #: Seconds since 1970: when the work began, also where the output was taken over from other parameters; and when the
    #: output was done, or taken over.
    started: float
    finished: float
    #: What `work` returned, for people: {"pictures": 300}.
    summary: dict[str, Any]
    #: The output itself.
    files: Snapshot
    digest: str

    def as_input(self) -> InputTrace:
        """What the stamp of a stage that requires this one records of it."""
        return {"digest": self.digest, "summary": self.summary}

    def write(self, folder: Path) -> None:
        with (folder / STAMP).open("w") as file:
            json.dump(vars(self), file)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> Stamp:
        """Raises FileNotFoundError if there is none, StampError if it is torn."""
        try:
            content = json.loads((folder / STAMP).read_bytes())
            stamp = cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})
            stamp.files = _snapshot(stamp.files)
            stamp.reads = {name: _snapshot(files) for name, files in stamp.reads.items()}
        except KeyError as error:
            raise StampError(f"its stamp cannot be read (it lacks {error})") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise StampError(f"its stamp cannot be read ({error})") from None
        return stamp


def _snapshot(files: dict[str, Any]) -> Snapshot:
    return dict(zip(files, map(FileTrace._make, files.values()), strict=True))


def stamps(folder: Path) -> dict[Path, Stamp]:
    """Every finished output in the folder of a stage with its stamp, the newest first. Left out is one whose stamp is
    torn, or that is just being replaced: the stage itself says so when it is asked."""
    found = {}
    for link in folder.glob("*"):
        if link.is_symlink():
            with contextlib.suppress(StampError, FileNotFoundError):
                found[link] = Stamp.read(link)
    return dict(sorted(found.items(), key=lambda item: -item[1].finished))
