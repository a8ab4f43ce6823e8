"""The summary of a stage's work, as its stamp has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def summary_of(returned: object) -> dict[str, Any]:
    """What `work` returned as JSON has it. The work is done: what JSON has no form for is no reason to lose it."""
    if not isinstance(returned, Mapping):
        returned = {} if returned is None else {"result": returned}
    return {str(name): _plain(value) for name, value in returned.items()}


def _plain(value: object) -> object:
    try:
        return json.loads(json.dumps(_text_keys(value), default=_number_or_text))
    except (RecursionError, ValueError):
        # It holds itself, or a number of thousands of digits.
        return f"a {type(value).__name__}"


def _text_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _text_keys(inner) for name, inner in value.items()}
    return [*map(_text_keys, value)] if isinstance(value, list | tuple) else value


def _number_or_text(value: object) -> object:
    """A number or list for one of numpy; the text of anything else."""
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else str(value)
