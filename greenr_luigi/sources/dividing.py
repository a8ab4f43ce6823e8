"""In how many parts a class is checked. Imports nothing heavy, since it is asked in runs that have nothing to do."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.staleness import listing


def parts(top: Path, limit: int, most: int) -> int:
    """1 where a folder holds no more than `most` files, or where a limit is less than half of them; else a power of
    two, so that a folder that grows is seldom divided anew."""
    files = listing.count(top)
    if files <= most or 0 < 2 * limit < files:
        return 1
    return 1 << ((files - 1) // most).bit_length()
