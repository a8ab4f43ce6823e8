"""The attribution of a release, page by page and as a table."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tests import tiny_release
from tests.web.test_app import inside


def test_who_made_the_pictures_is_linked_from_the_model_page(tmp_path: Path) -> None:
    with inside(tmp_path, evaluated=True, root_path="/app") as client:
        assert 'href="/app/attribution"' in client.get("/model").text
        first, last = client.get("/attribution").text, client.get("/attribution?page=3").text
        table = client.get("/attribution.csv")
    pages = [re.findall(r'href="(https://site.example/\d+)"', page) for page in (first, last)]
    assert [len(found) for found in pages] == [100, tiny_release.CREDITS - 200]
    assert not {*pages[0]} & {*pages[1]}
    assert "A. <b>0</b>" in html.unescape(first) and "<b>0</b>" not in first
    assert 'href="https://creativecommons.org/licenses/by/2.0/"' in first
    assert "and 240 that are not listed" in first
    assert 'rel="next" href="/app/attribution?page=2"' in first and "Previous" not in first
    assert 'rel="prev" href="/app/attribution?page=2"' in last and "Next" not in last
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"] == 'attachment; filename="attribution.csv"'
    assert table.text.count("\n") == tiny_release.CREDITS + 1


def test_of_many_pictures_numbers_are_written_as_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_release, "CREDITS", 12_345)
    with inside(tmp_path, evaluated=True) as client:
        shown = client.get("/attribution?page=60").text
    assert "<b>12,345</b>" in shown and "<span>5,901 to 6,000 of 12,345</span>" in shown


@pytest.mark.parametrize("number", ["0", "4", "-1", "x", "\u0663", "1" * 5000, "1.5", ""])
def test_a_page_that_there_is_not(tmp_path: Path, number: str) -> None:
    with inside(tmp_path, evaluated=True) as client:
        missing = client.get("/attribution", params={"page": number})
    assert missing.status_code == 404 and "it has 3" in missing.text


def test_a_release_that_does_not_tell(tmp_path: Path) -> None:
    with inside(tmp_path) as client:
        assert "attribution" not in client.get("/model").text
        for path in ("/attribution", "/attribution.csv"):
            assert client.get(path).status_code == 404


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    with inside(tmp_path, evaluated=True) as client:
        table = tmp_path / "releases" / "current" / "attribution.csv"
        table.unlink()
        table.symlink_to("/etc/hostname")
        assert client.get("/attribution.csv").status_code == 404
