"""What `greenr run` and `greenr predict` show: on a terminal moving lines, elsewhere a line now and then."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from greenr_luigi.run_history import Event
from greenr_luigi.text import without_part

#: Seconds between two moves of a Bar, and where there is no terminal between two lines.
MOVES, EVERY = 0.1, 2.0
STAGE = r"INFO: (?P<stage>\w+(?:\(.*?\))?)"
#: What a stage says of its progress (staleness.stage.Stage.tell), of its beginning, and of the page in the end.
PROGRESS = re.compile(rf"{STAGE} +(?P<percent>\d{{1,3}}) %  (?P<words>.*)")
BEGINS = re.compile(rf"{STAGE} (?:runs:|takes) (?P<words>.*)")
LIVE = re.compile(r"INFO: (your classifier is live: .*)")
#: Of what cannot be scheduled Luigi says all parameters; why it cannot, the end of the run does.
WARNS = re.compile(r"WARNING: (?!Will not run )(.*)")


def moving_lines(console: Console, rows_too: bool = True) -> Progress:
    """None where the console is no terminal. `rows_too`: what is printed meanwhile stands above them."""
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(16, table_column=Column(no_wrap=True, min_width=16)),
        TextColumn("{task.percentage:>3.0f} %", table_column=Column(no_wrap=True)),
        TimeElapsedColumn(Column(no_wrap=True)),
        # The rest of the line, however little that is.
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        console=console,
        disable=not console.is_terminal,
        expand=True,
        redirect_stdout=rows_too,
        redirect_stderr=rows_too,
    )


class Bar:
    """How far a command has come, an OnProgress: on a terminal one moving line, elsewhere a line each tenth, if that
    takes a while. It goes to the standard error, and what the command prints meanwhile stands above."""

    def __init__(self, name: str) -> None:
        self.name, self.tenths, self.said = name, 0, time.monotonic()
        self.moved = 0.0
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.lines = moving_lines(self.console, rows_too=sys.stdout.isatty())
        self.lines.live.transient = True
        self.task = self.lines.add_task(name, total=1.0, words="")

    def __enter__(self) -> None:
        self.lines.start()

    def __exit__(self, *_: object) -> None:
        self.lines.stop()

    def __call__(self, fraction: float, words: str) -> None:
        now, tenths = time.monotonic(), int(10 * fraction)
        if self.console.is_terminal:
            if now - self.moved >= MOVES or fraction in (0, 1):
                self.lines.update(self.task, completed=fraction, words=words)
                self.moved = now
        elif tenths > self.tenths and now - self.said >= EVERY:
            self.tenths, self.said = tenths, now
            self.say(f"{self.name}  {fraction:4.0%}  {words}")

    def say(self, words: str) -> None:
        self.console.print(words, markup=False)


class Show:
    """`on`: where it is shown; `is_terminal`: None to ask that."""

    def __init__(self, on: TextIO | None = None, is_terminal: bool | None = None) -> None:
        self.console = Console(
            file=on or sys.stdout, force_terminal=is_terminal, highlight=False, soft_wrap=True
        )
        self.is_terminal = self.console.is_terminal
        self.progress = moving_lines(self.console)
        self.bars: dict[str, TaskID] = {}
        self.live = ""
        self.held: list[str] = []

    def say(self, words: str) -> None:
        self.console.print(words, markup=False)

    def line(self, line: str) -> None:
        """A line of Luigi's log."""
        if live := LIVE.fullmatch(line):
            self.live = live[1]
        elif warns := WARNS.fullmatch(line):
            self._tell(f"warning: {warns[1]}")
        elif found := PROGRESS.fullmatch(line) or BEGINS.fullmatch(line):
            percent = int(found.groupdict().get("percent", 0))
            name, part = without_part(found["stage"])
            self._move(name, percent, f"{part}: {found['words']}" if part else found["words"])
            if percent == 100 and not self.is_terminal and not part:
                self._tell(f"{found['stage']}  {found['words']}", goes_on="(" not in found["stage"])

    def _tell(self, words: str, goes_on: bool = False) -> None:
        """Where nobody looks, a search that brought nothing new is no news, such as each day while an engine is down:
        what it says waits until a stage behind it has done something (`goes_on`), or the run ends otherwise."""
        self.held.append(words)
        if self.is_terminal or goes_on:
            self._tell_held()

    def _tell_held(self) -> None:
        for words in self.held:
            self.say(words)
        self.held = []

    def _move(self, stage: str, percent: int, words: str) -> None:
        if not self.bars:
            self.progress.start()
        if stage not in self.bars:
            self.bars[stage] = self.progress.add_task(stage, total=100, words="")
        self.progress.update(self.bars[stage], completed=percent, words=words)

    def end(self, event: Event, log: Path) -> None:
        """How the run ended. Where nobody looks and nothing was stale, nothing."""
        self.progress.stop()
        if event.outcome != "unchanged":
            self._tell_held()
        if self.live:
            self.say(self.live)
        if event.outcome in ("failed", "refused"):
            self.say(f"{event.outcome}: {event.because}\nAll that was said: {log}")
        elif event.outcome == "unchanged" and self.is_terminal:
            self.say("nothing was stale")
