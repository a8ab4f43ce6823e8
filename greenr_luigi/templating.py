"""The one Jinja environment: pages, the report and the review page are drawn alike."""

from __future__ import annotations

import jinja2

from greenr_luigi.about import TEMPLATES
from greenr_luigi.text import percent, thousands


def environment() -> jinja2.Environment:
    """Escapes whatever a label may hold, and refuses a name that a template misspells."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["percent"] = percent
    made.filters["thousands"] = thousands
    return made
