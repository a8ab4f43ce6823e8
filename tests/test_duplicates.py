"""The search for near hashes finds what comparing all with all finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi import duplicates
from greenr_luigi.duplicates import near_pairs

BITS = st.integers(0, 63)


def all_pairs(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= distance
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(close, 1))]


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=20),
    st.lists(st.tuples(st.integers(0, 19), st.lists(BITS, max_size=9)), max_size=20),
    st.integers(0, 12),
)
def test_finds_all_and_nothing_else(
    base: list[int], changed: list[tuple[int, list[int]]], distance: int
) -> None:
    near = [base[place] ^ sum({1 << bit for bit in bits}) for place, bits in changed if place < len(base)]
    hashes = np.array(sorted({*base, *near}), np.uint64)
    i, j = near_pairs(hashes, distance)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == all_pairs(hashes, distance)


def test_many_in_one_bucket_take_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SLICE", 50)
    hashes = np.arange(300, dtype=np.uint64) * np.uint64(2**40)
    i, j = near_pairs(hashes, 3)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == all_pairs(hashes, 3)
