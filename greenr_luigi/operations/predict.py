"""`greenr predict`: the pictures of a folder or list, answered as the page would. Rows go to the standard output, all
that is said to the standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from greenr_luigi import config_check
from greenr_luigi.operations.terminal import Bar
from greenr_luigi.prediction import rows
from greenr_luigi.prediction.predict import Prediction
from greenr_luigi.prediction.rows import Row
from greenr_luigi.staleness import data_root, regular
from greenr_luigi.staleness.shown import harmless, printable
from greenr_luigi.text import duration
from greenr_luigi.web.settings import from_environment

Form = Literal["words", "csv", "jsonl"]


def predict(root: Path, given: Path, form: Form) -> None:
    """Raises GreenrError as Prediction does, KeyboardInterrupt where a person has ended it; what is done is kept."""
    bar = Bar("predict")
    # Nobody prunes the release meanwhile. One who may not write there cannot hold it.
    with contextlib.suppress(OSError):
        data_root.hold(root, bar.say)
    settings = from_environment(
        {**config_check.of_server(), **os.environ, "GREENR_STORE": f"{root / 'releases'}"}
    )
    with bar:
        bar(0, f"counts the pictures of {printable(given)}")
        prediction = Prediction(root, given, settings, standard_output(), bar.say)
    header, line = lines(form, prediction.classes)
    began, counts, done = time.monotonic(), Counter[str](), 0
    try:
        with bar:
            bar(0, f"0 of {prediction.total:,}: loads release {prediction.digest}")
            if not write(header):
                return
            for row in prediction.rows():
                done += 1
                if not write(line(row)):
                    return
                counts[outcome(row)] += 1
                seconds = time.monotonic() - began
                bar(*progress(done, prediction, seconds))
    except KeyboardInterrupt:
        bar.say(f"ended at {done:,} of {prediction.total:,}: the same command goes on from there")
        raise
    bar.say(
        f"{summary(counts, prediction)} in {time.monotonic() - began:.1f} s, by release {prediction.digest}"
    )


def lines(form: Form, classes: list[str]) -> tuple[str, Callable[[Row], str]]:
    """What stands above all rows, and what makes a row a line."""
    if form == "words":
        width = max(map(len, [*classes, rows.CANNOT_TELL]))
        return "", lambda row: rows.as_words(row, width)
    # What programs read, whatever letters the locale has.
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(encoding="utf-8")
    header, line = (
        ("", rows.as_jsonl)
        if form == "jsonl"
        else (rows.csv_header(classes), lambda row: rows.as_csv(row, classes))
    )
    if not sys.stdout.isatty():
        return header, line
    return harmless(header[:-1]) + "\n" if header else "", lambda row: harmless(line(row)[:-1]) + "\n"


def write(text: str) -> bool:
    """To the standard output, at once; False if nobody reads on, or the disk is full: `cli.Output` has noted why."""
    print(text, end="", flush=True)
    return getattr(sys.stdout, "fault", None) is None


def standard_output() -> Path | None:
    """The file that it is, if it is one."""
    with contextlib.suppress(OSError, ValueError):
        return regular.real(Path(f"/proc/self/fd/{sys.stdout.fileno()}"))
    return None


def outcome(row: Row) -> str:
    return row.answer or (rows.REFUSED if row.probability is None else rows.CANNOT_TELL)


def progress(done: int, prediction: Prediction, seconds: float) -> tuple[float, str]:
    """How far it has come, 0 to 1, and in words. What was taken over tells nothing of the pace."""
    total, fresh = max(prediction.total, done), done - prediction.taken
    words = f"{done:,} of {total:,}"
    if fresh and seconds > 1:
        left = (total - done) * seconds / fresh
        words += f", {fresh / seconds:,.3g} a second, {duration(left)} left"
    return done / total, words


def summary(counts: Counter[str], prediction: Prediction) -> str:
    counted = ", ".join(f"{count:,} {what}" for what, count in counts.most_common(10))
    before = f", {prediction.taken:,} of them found before" if prediction.taken else ""
    pictures = f"{counts.total():,} picture{'s' * (counts.total() != 1)}"
    return f"{pictures}{f' ({counted})' if counted else ''}{before}"
