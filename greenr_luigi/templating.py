"""The one Jinja environment: pages, the report and the review page are drawn alike."""

from __future__ import annotations

import functools

import jinja2

from greenr_luigi.about import TEMPLATES
from greenr_luigi.text import percent, thousands


@functools.cache
def environment() -> jinja2.Environment:
    """Escapes whatever a label may hold, and refuses a name that a template misspells. All templates are read at once:
    an update beside a page that runs gives it none that its code does not know."""
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    files = jinja2.FileSystemLoader(TEMPLATES)
    read = {name: (*files.get_source(made, name)[:2], lambda: True) for name in files.list_templates()}
    made.loader = jinja2.FunctionLoader(read.get)
    made.filters["percent"] = percent
    made.filters["thousands"] = thousands
    return made
