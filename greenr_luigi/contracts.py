"""JSON files that one part writes and another reads: typed, whole or not at all, and checked where they are read.

A contract is a dataclass in the package that writes the file. A field that older files lack has a default that means
"not known", mostly None. Fields that only newer files have are passed over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec

from greenr_luigi import files, shared_files
from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness import regular

Contract = TypeVar("Contract")
#: The name of a file of ours, relative to the file that names it: it leads nowhere else, whoever wrote it there. Links,
#: `files.own` sees.
Name = Annotated[str, msgspec.Meta(pattern=r"\A[^/.\0][^/\0]*(/[^/.\0][^/\0]*)*\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class ContractError(GreenrError):
    """A file that is torn, or is not what its name says."""


def read(path: Path, kind: type[Contract], remedy: str = "run the stage that makes it again") -> Contract:
    """The content of a JSON file. Raises FileNotFoundError if there is none, ContractError if it is no such file."""
    try:
        return msgspec.json.decode(regular.read(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(path, kind, error, remedy) from None


def read_tolerant(path: Path, kind: type[Contract], remedy: str, strict: Collection[str] = ()) -> Contract:
    """As `read`, but an optional field of the wrong type, NaN included, counts as missing unless it is one of `strict`:
    a fault in what is only shown to people does not keep a model from answering."""
    try:
        # An object of a class named NaN, for the message.
        content = json.loads(regular.read(path), parse_constant=lambda name: type(name, (), {})())
        if isinstance(content, dict):
            types = get_type_hints(kind, include_extras=True)
            for field in dataclasses.fields(kind):  # type: ignore[arg-type]
                has_default = field.default is not dataclasses.MISSING
                if has_default and field.name in content and field.name not in strict:
                    try:
                        msgspec.convert(content[field.name], types[field.name], str_keys=True)
                    except msgspec.ValidationError:
                        del content[field.name]
        return msgspec.convert(content, kind, str_keys=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise unreadable(path, kind, error, remedy) from None


def unreadable(path: Path, kind: type[Any], error: Exception, remedy: str) -> ContractError:
    return ContractError(f"{path} cannot be read as {kind.__name__} ({error}): {remedy}")


def write(path: Path, content: object) -> None:
    """Write a dataclass as JSON with sorted keys: the same content gives the same bytes.

    A field that is None by default, and is None, is left out. What is no Unicode, such as a path of other bytes, is
    written as question marks. Raises ContractError for a number that is not finite.
    """
    try:
        text = json.dumps(plain(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        what = f"a number of {type(content).__name__} is not finite"
        raise ContractError(f"{path}: {what} ({error}): did the training diverge?") from None
    files.write(path, (text + "\n").encode("utf-8", "replace"))


def plain(content: object) -> Any:
    """Dictionaries, lists and numbers for dataclasses, at whatever depth."""
    if dataclasses.is_dataclass(content):
        # `vars` would lack the defaults of one that msgspec made.
        values = {field: getattr(content, field.name) for field in dataclasses.fields(content)}
        written = {
            field.name: value for field, value in values.items() if (value, field.default) != (None, None)
        }
        return {name: plain(value) for name, value in written.items()}
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(value) for value in content] if isinstance(content, list | tuple) else content


def append_log(path: Path, *rows: object) -> None:
    """Add rows to a file for `read_log`. Raises OSError, also if that is a link."""
    files.refuse_link(path)
    lines = b"".join(map(_line, rows))
    shared_files.append(path, lambda _: lines)


def _line(row: object) -> bytes:
    """What is no Unicode is written as question marks, as by `write`."""
    try:
        return msgspec.json.encode(row) + b"\n"
    except UnicodeEncodeError:
        return json.dumps(plain(row), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def read_log(
    path: Path, kind: type[Contract], on_lost: Callable[[int], object] = lambda number: None
) -> list[Contract]:
    """The rows of a file that holds a JSON object a line, oldest first; none if there is no file. A line that was left
    half-written is passed over; `on_lost` gets how many are, if any."""
    lines = regular.read(path) if path.exists() else b""
    found = list(rows(lines, kind))
    if lost := sum(1 for line in lines.splitlines() if line.strip()) - len(found):
        on_lost(lost)
    return found


def rows(lines: bytes, kind: type[Contract]) -> Iterator[Contract]:
    """The rows of whole lines of such a file, but for what is none."""
    for line in lines.splitlines():
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield msgspec.json.decode(line, type=kind)
