"""Names of classes, and of the folders that hold their pictures."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.text import composed

#: Linux takes 255 bytes in a file name; a stage adds a key, a dot and a few marks to a label.
MAX_LABEL_BYTES = 200


class LabelError(GreenrError):
    """A label that no folder can be named after."""


def folder_name(label: str) -> str:
    """The name of a label's folder: the label, with what a file name cannot hold as `%XX` of its UTF-8 bytes.

    Different labels have different folders, and `label_name` finds the label again. Raises LabelError if the label is
    empty, too long, or not text.
    """
    if not label.strip():
        raise LabelError(f"the label {label!r} is empty: give each class a name")
    try:
        name = re.sub(r"^\.|[/%\x00-\x1f\x7f-\x9f]", _percent, label)
        length = len(name.encode())
    except UnicodeEncodeError:
        raise LabelError(f"the label {label!r} holds what is no character: write it in UTF-8") from None
    if length > MAX_LABEL_BYTES:
        raise LabelError(
            f"the label {label!r} takes {length} bytes in a folder name; at most {MAX_LABEL_BYTES}: shorten it"
        )
    return name


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def label_name(folder: str) -> str:
    """The label whose folder has this name."""
    return urllib.parse.unquote(folder, errors="strict")


def label_folder(folder: Path, label: str) -> Path | None:
    """A label's sub-folder of a person's folder, or None: one of the label's own name, however its accents are
    composed, or of its folder_name. The first by name if there are several; never one outside of `folder`."""
    names = (composed(label), folder_name(label))
    children = folder.iterdir() if folder.is_dir() else ()
    visible = [path for path in children if not path.name.startswith(".") and path.is_dir()]
    return min((path for path in visible if composed(path.name) in names or path.name in names), default=None)
