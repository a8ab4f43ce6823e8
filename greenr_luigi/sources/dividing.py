"""In how many parts a class is checked. Imports nothing heavy, since it is asked in runs that have nothing to do."""

from __future__ import annotations


def parts(files: int, limit: int, most: int) -> int:
    """Of so many files: 1 where these are no more than `most`, or where a limit is less than half of them; else a power
    of two, so that a folder that grows is seldom divided anew."""
    if files <= most or 0 < 2 * limit < files:
        return 1
    return 1 << ((files - 1) // most).bit_length()
