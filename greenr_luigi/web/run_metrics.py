"""What runs and stages came to, which model serves, and how the machine fares: for Prometheus, beside the web's own
counters (metrics.py). All workers read the same files and tell the same, so nothing is summed."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily

from greenr_luigi import contracts, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.run_history import Event
from greenr_luigi.serving import releases
from greenr_luigi.serving.state import WorkerState
from greenr_luigi.staleness import regular
from greenr_luigi.web.model import Model

#: Of a longer history, only its last one to two times so many bytes count, from a multiple of them on, so that it does
#: not matter when a worker began to read. They are 150,000 lines.
MOST_READ = 1 << 26
#: Bytes that are read at a time, and that a line may have.
PIECE = 1 << 20
#: Kinds of stages that are told apart, and characters of their names; a history may name any.
MOST_STAGES, LONGEST_NAME = 50, 60
#: The last bytes that were read: a file that does not have them there is another one.
SEAM = 64


class History:
    """The lines of a history.jsonl, added up. Each look reads what was added since the one before; a file that was
    replaced by another one is read anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.seen: tuple[int, int, int] | None = None
        self.forget()

    def forget(self, start: int = 0) -> None:
        """Nothing is known of the lines from `start` on."""
        self.start, self.end, self.seam = start, start, b""
        #: Ends and seconds of runs by outcome, and of stages by kind and outcome.
        self.runs: dict[str, tuple[int, float]] = dict.fromkeys(get_args(run_history.Outcome)[2:], (0, 0.0))
        self.stages: dict[tuple[str, str], tuple[int, float]] = {}
        #: When a run last ended so; the last event of each kind of stage; the last run, and the last that was judged.
        self.ended: dict[str, float] = dict.fromkeys(self.runs, 0.0)
        self.last: dict[str, Event] = {}
        self.last_run: Event | None = None
        self.judged: Event | None = None

    def look(self) -> None:
        """Read what is new. Raises OSError."""
        with self.lock, regular.opened(self.path) as file:
            status = os.fstat(file.fileno())
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self.seen:
                return
            start = max(status.st_size // MOST_READ - 1, 0) * MOST_READ
            seam = os.pread(file.fileno(), len(self.seam), self.end - len(self.seam))
            if start != self.start or seam != self.seam:
                self.forget(start)
            while piece := os.pread(file.fileno(), PIECE, self.end):
                # What has no end yet is read when it has one, unless no line is as long.
                whole = piece[: piece.rfind(b"\n") + 1] or (piece if len(piece) == PIECE else b"")
                if not whole:
                    break
                for event in contracts.rows(whole, Event):
                    with contextlib.suppress(ValueError, OverflowError):
                        self.add(event)
                self.end, self.seam = self.end + len(whole), (self.seam + whole)[-SEAM:]
            self.seen = seen

    def add(self, event: Event) -> None:
        """Raises as `timestamp`."""
        ended = timestamp(event.ended)
        if event.kind == "stage":
            # Of one stage a class, such as DownloadImages(grass), all are one kind.
            kind = event.name.partition("(")[0][:LONGEST_NAME]
            if kind not in self.last and len(self.last) >= MOST_STAGES:
                kind = "other"
            for outcome in set(get_args(run_history.Outcome)) - {"deployed", "unchanged"}:
                # From nothing on, or the first of them would be no increase.
                self.stages.setdefault((kind, outcome), (0, 0.0))
            count, seconds = self.stages.get((kind, event.outcome), (0, 0.0))
            self.stages[kind, event.outcome] = count + 1, seconds + event.seconds
            self.last[kind] = event
            return
        count, seconds = self.runs.get(event.outcome, (0, 0.0))
        self.runs[event.outcome] = count + 1, seconds + event.seconds
        self.ended[event.outcome], self.last_run = ended, event
        if run_history.judged([event]):
            self.judged = event

    def metrics(self) -> Iterator[Metric]:
        with self.lock:
            yield summary(
                "run_duration_seconds",
                "Runs of the pipeline that have ended, and how long they took",
                {(outcome,): ends for outcome, ends in self.runs.items()},
                "outcome",
            )
            yield gauge(
                "run_last_timestamp_seconds",
                "When a run last ended so; 0 if none did",
                {(outcome,): ended for outcome, ended in self.ended.items()},
                "outcome",
            )
            good = max(self.ended["deployed"], self.ended["unchanged"])
            yield gauge(
                "run_last_success_timestamp_seconds", "When a run last came to its end; 0 if none did", good
            )
            if self.last_run:
                yield gauge("run_last_duration_seconds", "What the last run took", self.last_run.seconds)
            if self.judged:
                pictures, accuracy = self.judged.summary["pictures"], self.judged.summary["accuracy"]
                yield gauge("run_pictures", "In the data set of the last model that was judged", pictures)
                words = "Of the test pictures, what the last model that was judged had wrong"
                yield gauge("run_error_ratio", words, 1 - accuracy)
            yield summary(
                "stage_duration_seconds",
                "Stages that have ended, and how long they took",
                self.stages,
                "stage",
                "outcome",
            )
            yield gauge(
                "stage_last_duration_seconds",
                "What a stage of this kind took last",
                {(kind,): event.seconds for kind, event in self.last.items()},
                "stage",
            )


#: A history for each store that this process serves, which is one but for tests.
history = lru_cache(maxsize=4)(History)


def of_runs(store: Path) -> Iterator[Metric]:
    """By the history beside the store; none where there is none, or none that can be read just now."""
    there = history(store.with_name(run_history.FILE))
    with contextlib.suppress(OSError):
        there.look()
        yield from there.metrics()


def of_release(store: Path, model: Model | None) -> Iterator[Metric]:
    """Of the release that this worker serves."""
    if model is None:
        return
    card = model.card
    info = {(model.digest, card.arch or "", model.precision): 1.0}
    yield gauge("release_info", "The release that serves", info, "release", "arch", "precision")
    with contextlib.suppress(GreenrError, OSError, ValueError, OverflowError):
        yield gauge(
            "release_created_timestamp_seconds",
            "When the release that serves was published",
            timestamp(created(store, model.digest)),
        )
    if card.metrics:
        words = "Of the test pictures, what the model that serves has wrong"
        yield gauge("release_error_ratio", words, card.metrics.error)
    if card.data:
        sides = {(side,): float(sum(of.values())) for side, of in card.data.counts.items()}
        yield gauge("release_pictures", "Pictures of the model that serves", sides, "side")


@lru_cache(maxsize=4)
def created(store: Path, digest: str) -> str:
    return releases.read_note(store, digest).created


def of_workers(states: list[WorkerState]) -> Metric:
    """How many workers serve the current release, serve an earlier one since that is refused, and serve none."""
    counts = {("current",): 0.0, ("earlier",): 0.0, ("none",): 0.0}
    for state in states:
        counts["none" if state.digest is None else "earlier" if state.problem else "current",] += 1
    return gauge("workers", "Workers, by the release that they serve", counts, "release")


def of_disk(store: Path) -> Iterator[Metric]:
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage(store)
        yield gauge("disk_free_bytes", "Room on the disk of the releases", usage.free)
        yield gauge("disk_size_bytes", "Size of the disk of the releases", usage.total)


def timestamp(text: str) -> float:
    """Seconds since 1970 of an ISO time. Raises ValueError or OverflowError if it is none."""
    return datetime.datetime.fromisoformat(text).timestamp()


def gauge(name: str, words: str, values: float | Mapping[Any, float], *labels: str) -> Metric:
    """`values`: one, or one for each tuple of labels."""
    family = GaugeMetricFamily(f"greenr_{name}", words, labels=labels)
    for key, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric(key, value)
    return family


def summary(name: str, words: str, values: Mapping[Any, tuple[int, float]], *labels: str) -> Metric:
    family = SummaryMetricFamily(f"greenr_{name}", words, labels=labels)
    for key, (count, total) in values.items():
        family.add_metric(key, count, total)
    return family
