"""The sources by name. A package of your own adds its source to SOURCES before it imports `tasks`."""

from __future__ import annotations

import importlib

from greenr_luigi.sources.source import Source, SourceError
from greenr_luigi.text import did_you_mean

#: The module of each, imported when the source is asked for.
SOURCES = {
    "bing": "greenr_luigi.sources.bing",
    "google": "greenr_luigi.sources.google",
    "baidu": "greenr_luigi.sources.baidu",
    "openverse": "greenr_luigi.sources.openverse",
    "commons": "greenr_luigi.sources.commons",
    "flickr": "greenr_luigi.sources.flickr",
    "urls": "greenr_luigi.sources.urls",
    "folder": "greenr_luigi.sources.folder",
    "feedback": "greenr_luigi.sources.feedback",
    "sample": "greenr_luigi.sources.sample",
}


def find(name: str) -> Source:
    """The source of that name. Raises SourceError naming the nearest one."""
    if name not in SOURCES:
        raise SourceError(f"there is no source {name!r}: {did_you_mean(name, [*SOURCES])}")
    source: Source = importlib.import_module(SOURCES[name]).SOURCE
    return source
