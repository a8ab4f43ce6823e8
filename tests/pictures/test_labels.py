"""Names of classes as names of folders."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenr_luigi.pictures.labels import LabelError, folder_name, label_name

LABEL = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


@settings(deadline=None)
@given(LABEL)
@example("..")
@example("100 % Löwenzahn/gelb\0\n")
@example(".%2E")
def test_a_folder_tells_its_label(label: str) -> None:
    folder = folder_name(label)
    assert label_name(folder) == label
    assert not folder.startswith(".") and not set(folder) & set("/\0\n")


def test_ordinary_labels_keep_their_names() -> None:
    for label in ("dandelion", "wild grass", "Löwenzahn", "蒲公英", "a.b", "🌼"):
        assert folder_name(label) == label


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("x" * 201, "201 bytes"),
        ("/" * 90, "270 bytes"),
        ("a\udc80", "write it in UTF-8"),
    ],
)
def test_what_can_be_no_label(label: str, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        folder_name(label)
