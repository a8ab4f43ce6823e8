"""Google's picture search, through icrawler."""

from __future__ import annotations

import re
from collections.abc import Iterator

from greenr_luigi.sources.licenses import RIGHTS
from greenr_luigi.sources.results import Answer, Result, each, require_html
from greenr_luigi.sources.source import Candidate, Request, Source

#: An address in a script, with what follows up to the end of its text; and its beginning that names a picture.
ADDRESS = re.compile(r"""http[^["'<>\s]{,2048}""")
PICTURE = re.compile(r"[^\\]*?\.(?:jpg|png|bmp)")
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.google import GoogleFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("google", request, GoogleFeeder, results)


def results(response: Answer) -> list[Result]:
    """As icrawler's parser, whose pattern takes hours on a hostile page: the addresses of pictures in the first script
    that has some."""
    for script in response.content.split(b"<script")[1:]:
        text = script.partition(b"</script")[0].decode("utf-8", "ignore")
        found = (PICTURE.match(unescaped(address)) for address in ADDRESS.findall(text))
        if urls := [url[0] for url in found if url and "gstatic.com/" not in url[0]]:
            return each(urls, lambda url: {"file_url": url})
    require_html(response)
    return []


def unescaped(text: str) -> str:
    """As a script means it: `\\u003d` is an equals sign."""
    return ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text).replace("\\/", "/")


SOURCE = Source(
    "google",
    "Google's picture search, which seldom answers programs",
    candidates,
    licenses=set(RIGHTS) - {"publicdomain"},
)
