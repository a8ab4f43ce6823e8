"""The interval in which an error lies that was counted on a few pictures."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(wrong: int, pictures: int) -> tuple[float, float]:
    """The 95 % Wilson interval of the error of a model that names `wrong` of the `pictures` (one or more) wrongly. In
    closed form: scipy has the same, and takes a second to be imported."""
    z = NormalDist().inv_cdf(0.975)
    rate, scale = wrong / pictures, 1 + z * z / pictures
    center = (rate + z * z / (2 * pictures)) / scale
    margin = z / scale * math.sqrt(rate * (1 - rate) / pictures + z * z / (4 * pictures * pictures))
    return center - margin if wrong else 0.0, center + margin if wrong < pictures else 1.0
