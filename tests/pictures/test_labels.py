"""Names of classes as names of folders."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenr_luigi.pictures.labels import INVISIBLE, LabelError, folder_name

LABEL = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40).filter(
    lambda label: label == label.strip() and not INVISIBLE.search(label)
)


@settings(deadline=None)
@given(LABEL)
@example("..")
@example("100 % Löwenzahn/gelb")
@example(".%2E")
def test_a_folder_tells_its_label(label: str) -> None:
    folder = folder_name(label)
    assert urllib.parse.unquote(folder, errors="strict") == label
    assert not folder.startswith(".") and "/" not in folder


def test_ordinary_labels_keep_their_names() -> None:
    for label in ("dandelion", "wild grass", "Löwenzahn", "蒲公英", "a.b", "🌼", "👩\u200d🌾"):
        assert folder_name(label) == label


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("x" * 201, "201 bytes"),
        ("/" * 90, "270 bytes"),
        ("a\udc80", "write it in UTF-8"),
        ("a\nb", r"'a\\nb' holds a control character or a line end"),
        ("a\u2028", r"'a\\u2028' holds a control character or a line end"),
        ("grass\u200b", r"holds the invisible U\+200B: write it without"),
        ("\u202essarg", r"holds the invisible U\+202E"),
        (" a", "begins or ends with a blank"),
    ],
)
def test_what_can_be_no_label(label: str, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        folder_name(label)
