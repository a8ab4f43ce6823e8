"""Finding pictures that look alike among many, by their 64-bit perceptual hashes.

Two hashes that differ in at most `distance` bits differ in at most `distance // 4` bits in one of their four
16-bit quarters, so only pictures with like quarters are compared at all (multi-index hashing: Norouzi,
Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

#: Bits of 64. See docs/benchmarks.md, Cleaning, for what this finds and what it takes for alike that is not.
NEAR = 6
#: Pairs compared at a time: bounds the memory where thousands of hashes share a quarter.
SLICE = 2_000_000


def near_pairs(hashes: Hashes, distance: int = NEAR) -> tuple[Places, Places]:
    """Places (i, j), i < j, of all hashes that differ in at most `distance` bits; each pair once, sorted.

    `hashes`: shape (n,), all different, as otherwise n equal ones alone make n * (n - 1) / 2 pairs.
    """
    found = []
    for quarter in range(4):
        keys = (hashes >> np.uint64(16 * quarter)).astype(np.uint16)
        for i, j in _alike(keys, distance // 4):
            close = np.bitwise_count(hashes[i] ^ hashes[j]) <= distance
            found.append((i[close] << 32) | j[close])
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return pairs >> 32, pairs & 0xFFFFFFFF


def _alike(keys: NDArray[np.uint16], bits: int) -> Iterator[tuple[Places, Places]]:
    """Places (i, j), i < j, whose keys differ in at most `bits` bits, in slices."""
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    for flipped in itertools.chain.from_iterable(
        itertools.combinations(range(16), n) for n in range(bits + 1)
    ):
        wanted = keys ^ np.uint16(sum(1 << bit for bit in flipped))
        first = np.searchsorted(sorted_keys, wanted, "left")
        counts = np.searchsorted(sorted_keys, wanted, "right") - first
        ends = np.cumsum(counts)
        start = 0
        while start < len(keys):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + SLICE, "right")))
            i = np.repeat(np.arange(start, stop), counts[start:stop])
            within = np.arange(len(i)) - np.repeat(
                ends[start:stop] - counts[start:stop] - before, counts[start:stop]
            )
            j = order[np.repeat(first[start:stop], counts[start:stop]) + within]
            yield i[i < j], j[i < j]
            start = stop
