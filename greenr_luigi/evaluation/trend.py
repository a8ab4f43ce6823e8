"""How good the models have been that came before the gate, one after the other: the drawing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenr_luigi.run_history import Event

#: The size of the drawing of the accuracies, and of that of the pictures below it.
WIDTH, HEIGHT, BARS = 300.0, 90.0, 30.0
#: Models that are drawn, the newest ones.
MOST = 60


@dataclass(frozen=True)
class Point:
    """A model: where it stands, and how high the bar of its pictures is. `day`: ISO 8601."""

    x: float
    y: float
    bar: float
    accuracy: float
    pictures: int
    released: bool
    day: str


@dataclass(frozen=True)
class Trend:
    """`low`: the accuracy at the bottom of the drawing; 1 is at its top. `most`: the pictures of the highest bar."""

    points: list[Point]
    low: float
    most: int

    @property
    def line(self) -> str:
        """Through the released ones."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points if point.released)


def trend(judged: Sequence[Event]) -> Trend | None:
    """`judged`: as run_history.judged gives them. None if there are fewer than two: nothing to compare."""
    models = judged[-MOST:]
    if len(models) < 2:
        return None
    accuracies = [float(event.summary["accuracy"]) for event in models]
    pictures = [int(event.summary["pictures"]) for event in models]
    low = max(min(int(min(accuracies) * 10) / 10, 0.9), 0.0)
    most = max(*pictures, 1)
    points = [
        Point(
            x=WIDTH * number / (len(models) - 1),
            y=HEIGHT * (1 - accuracy) / (1 - low),
            bar=BARS * count / most,
            accuracy=accuracy,
            pictures=count,
            released=event.outcome == "deployed",
            day=event.ended[:10],
        )
        for number, (event, accuracy, count) in enumerate(zip(models, accuracies, pictures, strict=True))
    ]
    return Trend(points, low, most)
