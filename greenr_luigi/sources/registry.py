"""The sources by name. A package of your own adds its source to SOURCES before it imports `tasks`."""

from __future__ import annotations

import importlib
from collections.abc import Container

from greenr_luigi.sources.source import Source, SourceError, in_turn
from greenr_luigi.text import did_you_mean

#: The module of each, imported when the source is asked for. Of search engines the best are first: so they are named
#: where one brings too little.
SOURCES = {
    "openverse": "greenr_luigi.sources.openverse",
    "commons": "greenr_luigi.sources.commons",
    "bing": "greenr_luigi.sources.bing",
    "inaturalist": "greenr_luigi.sources.inaturalist",
    "flickr": "greenr_luigi.sources.flickr",
    "google": "greenr_luigi.sources.google",
    "baidu": "greenr_luigi.sources.baidu",
    "site": "greenr_luigi.sources.site",
    "urls": "greenr_luigi.sources.urls",
    "folder": "greenr_luigi.sources.folder",
    "feedback": "greenr_luigi.sources.feedback",
    "sample": "greenr_luigi.sources.sample",
}


def find(text: str) -> Source:
    """The source of that name; for names with commas between them, those search engines in turn. Raises SourceError for
    an unknown one, naming the nearest, and for what does not go together."""
    found = [_find_one(name) for name in names(text)]
    return found[0] if len(found) == 1 else in_turn(found)


def names(text: str) -> list[str]:
    """Each once, in their order."""
    return [*dict.fromkeys(filter(None, map(str.strip, text.split(","))))] or [text]


def others(license: str | None, asked: Container[str]) -> str:
    """The search engines but for those that were asked, that can filter for the licence if there is one: in brackets,
    for people."""
    engines = (one for one in map(_find_one, SOURCES) if one.searches and one.name not in asked)
    able = [one.name for one in engines if not license or license in one.licenses]
    return f" (--source {', '.join(able)})" if able else ""


def _find_one(name: str) -> Source:
    if name not in SOURCES:
        raise SourceError(f"there is no source {name!r}: {did_you_mean(name, [*SOURCES])}")
    source: Source = importlib.import_module(SOURCES[name]).SOURCE
    return source
