"""What sites let programs ask for."""

from __future__ import annotations

import pytest

from greenr_luigi import about
from greenr_luigi.sources import download, robots
from greenr_luigi.sources.robots import Robots
from tests.sources.conftest import Answer, Internet

SITE = "https://pictures.example"
#: What passes is not waited for.
SESSION = download.Session(retries=0)


def play(internet: Internet, answer: Answer) -> Robots:
    internet.hosts["pictures.example"] = lambda path, query: answer if path == "/robots.txt" else (404, b"")
    return Robots(SESSION)


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (b"", True),
        (b"<html>a page for everything</html>", True),
        (b"User-agent: *\nDisallow: /", False),
        (b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /a/", False),
        (b"User-agent: *\nDisallow: /a/\nAllow: /a/b", True),
        (b"User-agent: *\nDisallow: /*.jpg$", False),
        (b"User-agent: other\nDisallow: /", True),
        (b"User-agent: *\nDisallow: /\n\nUser-agent: GREENR_Luigi\nAllow: /", True),
        (b"User-agent: *\nAllow: /\n\nUser-agent: greenr_luigi\nDisallow: /a", False),
        (b"User-agent: greenr_luigi/1.2 (me@example.org)\rDisallow: /a", False),
        (b"User-agent: greenr_luigi_other/1.2\nDisallow: /a", True),
        ("User-agent: *\r\nDisallow: /".encode("utf-16"), False),
        ("User-agent: *\nDisallow: /".encode("utf-16-be"), False),
        ("\ufeffUser-agent: *\nAllow: /".encode("utf-16-le"), True),
    ],
)
def test_rules(internet: Internet, rules: bytes, allowed: bool) -> None:
    refused = play(internet, rules).refuses(f"{SITE}/a/b.jpg")
    assert (refused is None) == allowed
    assert allowed or (
        refused and refused.reason == "robots" and f"{refused}" == f"{SITE}/robots.txt says not to ask for it"
    )


@pytest.mark.parametrize(
    ("status", "allowed"), [(404, True), (403, True), (410, True), (429, False), (500, False), (503, False)]
)
def test_a_site_without_rules_allows_all_and_one_that_is_out_of_order_nothing(
    internet: Internet, status: int, allowed: bool
) -> None:
    refused = play(internet, (status, b"")).refuses(f"{SITE}/a.jpg")
    assert (refused is None) == allowed
    # It may pass, unlike rules.
    assert allowed or (
        refused and refused.reason == f"http-{status}" and f"it answered {status}" in f"{refused}"
    )


def test_a_site_that_is_not_there_or_says_too_much_allows_nothing(internet: Internet) -> None:
    asked = play(internet, b"#" * (robots.MAX_BYTES + 1))
    for site in (SITE, "https://nowhere.example", "http://127.0.0.1:1"):
        assert "cannot be had" in str(asked.refuses(f"{site}/a.jpg"))
    assert play(internet, b"#" * robots.MAX_BYTES).refuses(f"{SITE}/a.jpg") is None


def test_a_site_is_asked_once_as_whom_it_names_and_few_are_remembered(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robots, "SITES", 2)
    asked = play(internet, b"User-agent: greenr_luigi\nCrawl-delay: 7\nDisallow: /a")
    internet.hosts["www.bing.com"] = internet.hosts["www.google.com"] = lambda path, query: (404, b"")
    for site in (
        SITE,
        SITE.upper().replace("HTTPS", "https"),
        "https://www.bing.com",
        "https://www.google.com",
    ):
        asked.refuses(f"{site}/a.jpg")
    assert len(internet.asked) == 3 and len(asked._sites) == 2
    assert (asked.delay(f"{SITE}/b"), asked.delay("https://www.bing.com/")) == (7, 0)
    assert about.agent().startswith("greenr_luigi/")
