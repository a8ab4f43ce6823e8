"""What can go wrong with a stage and a person can mend."""

from __future__ import annotations


class StalenessError(Exception):
    """A stage cannot do its work; the message says what stands in the way and what to do."""


class StampError(StalenessError):
    """A stamp that is there, but is torn or no stamp."""
