"""Names of classes, and of the folders that hold their pictures."""

from __future__ import annotations

import re

from greenr_luigi.errors import GreenrError

#: Linux takes 255 bytes in a file name; a stage adds a key, a dot and a few marks to a label.
MAX_LABEL_BYTES = 200
#: Unicode's control characters, line and paragraph separators.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What shows nothing, or turns the text around: two labels would look alike. Not the joiners of scripts and emoji.
INVISIBLE = re.compile("[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe\uffff]")


class LabelError(GreenrError):
    """A label that no folder can be named after."""


def folder_name(label: str) -> str:
    """The name of a label's folder: the label, with what a file name cannot hold as `%XX`. Different labels have
    different folders.

    Raises LabelError for a label that is empty or too long, stands between blanks, holds a control character, a line
    end or an invisible character, or is not text. So every label is one line, one cell and one name, wherever it is
    written, and no two look alike for what nobody sees.
    """
    if not label.strip():
        raise LabelError(f"the label {label!r} is empty: give each class a name")
    if CONTROL.search(label):
        raise LabelError(f"the label {label!r} holds a control character or a line end: write it without")
    if found := INVISIBLE.search(label):
        raise LabelError(f"the label {label!r} holds the invisible U+{ord(found[0]):04X}: write it without")
    if label != label.strip():
        raise LabelError(f"the label {label!r} begins or ends with a blank: write it without")
    try:
        name = re.sub(r"^\.|[/%]", lambda found: f"%{ord(found[0]):02X}", label)
        length = len(name.encode())
    except UnicodeEncodeError:
        raise LabelError(f"the label {label!r} holds what is no character: write it in UTF-8") from None
    if length > MAX_LABEL_BYTES:
        raise LabelError(
            f"the label {label!r} takes {length} bytes in a folder name; at most {MAX_LABEL_BYTES}: shorten it"
        )
    return name
