"""The stamp: the file beside an output that says what it was made from."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from . import regular
from .code import CodeTrace
from .errors import StampError
from .memo import once
from .traces import STAMP, FileTrace, Snapshot, digest

#: What stamps of earlier versions lack, as it is there.
ADDED: dict[str, object] = {"accepted": [], "number": 0, "changed_meanwhile": None, "as_made": None}
#: Seconds since 1970 that no clock will show, and no calendar has.
MOST_TIME = 1e11


class _AllRead(TypedDict):
    digest: str
    summary: dict[str, Any]


class InputTrace(_AllRead, total=False):
    """What the output of a required stage was: the digest of its files, as far as they are read, and its summary for
    people. `unread`: the files that are not, if there are any."""

    unread: list[str]


@dataclass(kw_only=True)
class Trace:
    """What an output is made from."""

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
    #: What of all this changed while `work` ran, in words: whether it saw what is recorded here, nobody knows.
    changed_meanwhile: str | None = None

    def __post_init__(self) -> None:
        self.reads = {name: _snapshot(files) for name, files in self.reads.items()}

    def differences(self, now: Trace) -> list[str]:
        """All but the parameters in which it differs from what there is now: "code of training.py"."""
        tables: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
            ("version of ", self.libraries, now.libraries),
            ("code of ", _syntax(self.code), _syntax(now.code)),
            ("input ", _digests(self.inputs), _digests(now.inputs)),
            ("", _contents(self.reads), _contents(now.reads)),
        ]
        meanwhile = [self.changed_meanwhile] if self.changed_meanwhile else []
        return meanwhile + [
            f"{what}{name}"
            for what, old, new in tables
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]


@dataclass(kw_only=True)
class Stamp(Trace):
    """What an output was made from, why, where and when; and what it is."""

    title: str
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
    #: What has changed since the work, and a person has accepted without a rerun. The trace is as of then; that of the
    #: work is `as_made`.
    accepted: list[str] = field(default_factory=list)
    as_made: Trace | None = None
    #: One more than any output under the root had when this one was done: which is newer, as clocks are set back. 0 in
    #: stamps of earlier versions.
    number: int = 0

    def before_accepted(self) -> Stamp:
        """Without what a person has accepted since the work."""
        return replace(self, **vars(self.as_made), accepted=[], as_made=None) if self.as_made else self

    @property
    def order(self) -> tuple[int, float]:
        """Higher for an output that was done later."""
        return self.number, self.finished

    def as_input(self, unread: Collection[str] = ()) -> InputTrace:
        """What the stamp of a stage that requires this one records of it. `unread`: files that it does not read."""
        if not unread:
            return {"digest": self.digest, "summary": self.summary}
        read = {name: file for name, file in self.files.items() if name not in unread}
        return {"digest": digest(read), "summary": self.summary, "unread": sorted(unread)}

    def was_input(self, recorded: InputTrace) -> bool:
        """Whether a stamp that records this as an input means this output, or one that is the same to it."""
        return self.as_input(recorded.get("unread", ()))["digest"] == recorded["digest"]

    def write(self, folder: Path) -> None:
        beside = folder / f".{STAMP}"
        with regular.opened(beside, "w") as file:
            file.write(json.dumps({"number": self.number} | vars(self), default=vars))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(folder / STAMP)

    @classmethod
    @once
    def read(cls, folder: Path) -> Stamp:
        """Raises FileNotFoundError if there is none, StampError if it is torn."""
        try:
            return _parsed(regular.read(folder / STAMP))
        except KeyError as error:
            raise StampError(f"its stamp cannot be read (it lacks {error})") from None
        except IsADirectoryError as error:
            raise StampError(f"its stamp cannot be read ({error.strerror})") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise StampError(f"its stamp cannot be read ({error})") from None

    @classmethod
    def if_any(cls, folder: Path) -> Stamp | None:
        """None if there is none, or a torn one."""
        try:
            return cls.read(folder)
        except (FileNotFoundError, NotADirectoryError, StampError):
            return None


# A run asks dozens of times for the same, and of 10,000 pictures each costs a tenth of a second.
@functools.lru_cache(16)
def _parsed(content: bytes) -> Stamp:
    """The stamp in a file of that content. Raises KeyError, ValueError, TypeError, RecursionError."""
    read = json.loads(content)
    if not isinstance(read, dict):
        raise ValueError("it is no JSON object")
    entries: dict[str, Any] = ADDED | read
    known = _hints(Stamp)
    if wrong := [name for name, each in known.items() if not _check(each)(entries[name])]:
        raise ValueError(f"{wrong[0]} is of no known form")
    stamp = Stamp(**{name: entries[name] for name in known})
    stamp.files = _snapshot(stamp.files)
    stamp.as_made = Trace(**entries["as_made"]) if entries["as_made"] else None
    return stamp


@functools.cache
def _check(kind: Any) -> Callable[[Any], bool]:
    """Tells whether a value of JSON is one of a field of this type. A float is a time, in seconds since 1970."""
    if kind is FileTrace:
        types = [*_hints(kind).values()]
        return lambda value: isinstance(value, list) and [*map(type, value)] == types
    if kind is Any:
        return lambda value: True
    if kind is float:
        return lambda value: isinstance(value, int | float) and 0 <= value < MOST_TIME
    origin, of = get_origin(kind), get_args(kind)
    if origin is UnionType:
        any_of = [*map(_check, of)]
        return lambda value: any(check(value) for check in any_of)
    if origin is list:
        of_each = _check(of[0])
        return lambda value: isinstance(value, list) and all(map(of_each, value))
    if origin is dict:
        of_value = _check(of[1])
        return lambda value: isinstance(value, dict) and all(map(of_value, value.values()))
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        optional = getattr(kind, "__optional_keys__", ())
        if {*_hints(kind).values()} == {str} and not optional:
            # Of source files, of which each of thousands of stages has a hundred.
            names = [*_hints(kind)]
            return lambda value: (
                isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)
            )
        fields = [(name, _check(each), name in optional) for name, each in _hints(kind).items()]
        return lambda value: (
            isinstance(value, dict)
            and all(check(value[name]) if name in value else may_lack for name, check, may_lack in fields)
        )
    return lambda value: isinstance(value, kind)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _syntax(code: Mapping[str, CodeTrace]) -> dict[str, str]:
    return {name: file["syntax"] for name, file in code.items()}


def _digests(inputs: Mapping[str, InputTrace]) -> dict[str, str]:
    return {title: made["digest"] for title, made in inputs.items()}


def _contents(reads: Mapping[str, Snapshot]) -> dict[str, str]:
    return {name: digest(files) for name, files in reads.items()}


def _snapshot(files: dict[str, Any]) -> Snapshot:
    return dict(zip(files, map(FileTrace._make, files.values()), strict=True))


def stamps(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[Path, Stamp]:
    """Every finished output in the folder of a stage with its stamp, the newest first; or those with a `wanted` name.
    Left out is one whose stamp is torn, or that is just being replaced: the stage itself says so when it is asked."""
    found, names = {}, list[str]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        names = os.listdir(folder)  # noqa: PTH208  a Path for each of thousands takes long
    # No links, where a copy of the root followed them.
    for link in (folder / name for name in names if not name.startswith(".") and wanted(name)):
        if stamp := Stamp.if_any(link):
            found[link] = stamp
    return dict(sorted(found.items(), key=lambda item: item[1].order, reverse=True))
