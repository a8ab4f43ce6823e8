"""Finding pictures that look alike among many.

Every picture is compared with every other, in blocks that stay in the processor's cache: 100,000 pictures
take some seconds a core, and unlike an index of buckets this has no bad case and finds all, however far apart
they may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from greenr_luigi import cores

#: One row a picture: the 64 bits of `hashing.dhash`, then the 176 bits of `hashing.phash` in three parts.
HashMatrix = NDArray[np.uint64]
Places = NDArray[np.int64]

#: Pictures are near if at most so many of these 240 bits differ, and at most so many of the first 64, which
#: are looked at alone to begin with. docs/benchmarks-appendix.md, Cleaning, shows what this finds and what it wrongly
#: takes for alike.
NEAR, NEAR_FIRST = 65, 16
#: Bits, pairs a picture, and pictures looked at, in finding out how much NEAR must be lowered; see `copy_limit`.
STEP, ALIKE, SAMPLE = 8, 0.1, 2000
#: The arrays of a block, 10 bytes a pair, are to fit into the cache of a core; tried from 16 x 8192 to 256 x 4096.
ROWS, COLUMNS = 64, 4096


def hash_matrix(hashes: Sequence[tuple[str, str]]) -> HashMatrix:
    """Pairs of dhash (16 hex digits) and phash (44 hex digits) as an array of shape (n, 4)."""
    parts = [[int(d, 16), *(int(p[at : at + 16], 16) for at in (0, 16, 32))] for d, p in hashes]
    return np.array(parts, np.uint64).reshape(-1, 4)


def copy_limit(matrix: HashMatrix) -> int:
    """The most bits, at most NEAR, that pictures of this kind may differ in and still be copies rather than merely
    alike. Digits or X-rays all look alike to a hash that tells photographs apart: there, many pairs differ in just
    so many bits, while copies differ in few. Goes down by STEP until at most ALIKE pairs a picture are in a step."""
    sample = matrix[:: -(-len(matrix) // SAMPLE)] if len(matrix) else matrix
    i, j = np.triu_indices(len(sample), 1)
    first = np.bitwise_count(sample[i, 0] ^ sample[j, 0]) <= NEAR_FIRST
    i, j = i[first], j[first]
    bits = np.bitwise_count(sample[i] ^ sample[j]).sum(1, dtype=np.int64)
    counts = np.bincount(bits, minlength=NEAR + 1)
    # Pairs grow with the square of the pictures.
    allowed = max(1.0, ALIKE * len(matrix)) * (len(sample) / max(len(matrix), 1)) ** 2
    limit = NEAR
    while limit > 0 and counts[max(limit - STEP, 0) + 1 : limit + 1].sum() > allowed:
        limit -= STEP
    return max(limit, 0)


def near_pairs(matrix: HashMatrix, distance: int = NEAR, first: int = NEAR_FIRST) -> tuple[Places, Places]:
    """Places (i, j), i < j, of all pictures that differ in at most `distance` bits, and in at most `first` of
    the first 64; each pair once, sorted. Equal rows make many pairs: give each only once."""
    dhashes = np.ascontiguousarray(matrix[:, 0])
    with ThreadPoolExecutor(cores.allowed()) as pool:
        blocks = pool.map(
            lambda start: _block(matrix, dhashes, start, distance, first), range(0, len(matrix), ROWS)
        )
        pairs = np.concatenate([np.empty(0, np.int64), *blocks])
    pairs.sort()
    return pairs >> 32, pairs & 0xFFFFFFFF


def _block(matrix: HashMatrix, dhashes: NDArray[np.uint64], start: int, distance: int, first: int) -> Places:
    """The pairs of ROWS pictures with all behind them, each as i << 32 | j."""
    pairs = []
    ours, theirs = dhashes[start : start + ROWS, None], dhashes[start:]
    # Fresh arrays of this size would be taken from and given back to the system each time.
    size = len(ours) * COLUMNS
    differ, count, near = np.empty(size, np.uint64), np.empty(size, np.uint8), np.empty(size, np.bool_)
    for column in range(0, len(theirs), COLUMNS):
        width = min(COLUMNS, len(theirs) - column)
        part = slice(len(ours) * width)
        np.bitwise_xor(ours, theirs[column : column + width], out=differ[part].reshape(-1, width))
        np.bitwise_count(differ[part], out=count[part])
        np.less_equal(count[part], first, out=near[part])
        hits = np.flatnonzero(near[part])
        if len(hits):
            i, j = hits // width + start, hits % width + column + start
            i, j = i[i < j], j[i < j]
            close = np.bitwise_count(matrix[i] ^ matrix[j]).sum(1, dtype=np.int64) <= distance
            pairs.append((i[close] << 32) | j[close])
    return np.concatenate([np.empty(0, np.int64), *pairs])
