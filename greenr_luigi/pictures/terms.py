"""On which terms a picture is read."""

from __future__ import annotations

from typing import NamedTuple

#: Smaller than this on one side, there is nothing to see, unless a person says otherwise (`min_side`).
MIN_SIDE = 32
#: The least that may be said: the perceptual hashes look at 9 x 8 pixels.
LEAST_SIDE = 8


class Terms(NamedTuple):
    """`min_side`: the least pixels of either side. `own`: a person gives it of their own, and not a stranger: it may be
    of any of kinds.OWN, too."""

    min_side: int = MIN_SIDE
    own: bool = False


#: Of pictures that anybody may have made.
STRANGERS = Terms()
#: Of pictures that were taken before, on whatever terms.
TAKEN = Terms(min_side=1, own=True)
