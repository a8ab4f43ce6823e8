"""What a command is, and how its rows are printed."""

from __future__ import annotations

import argparse
import contextlib
import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from greenr_luigi.errors import GreenrError
from greenr_luigi.text import without_part

#: The name of an option or argument, and what `ArgumentParser.add_argument` takes with it.
Option = tuple[str, dict[str, Any]]
Row = TypeVar("Row")
#: More rows of the classes of one stage are not printed a line each.
MANY = 30


@dataclass(frozen=True)
class Command:
    """`run` returns the exit status; None for 0. What imports Luigi it imports itself: where luigi.cfg does not parse,
    `import luigi` ends in a traceback."""

    name: str
    run: Callable[[argparse.Namespace], int | None]
    help: str
    options: Sequence[Option] = ()
    #: Options of which one call takes one at most: argparse refuses more.
    one_of: Sequence[Option] = ()
    #: Options as for luigi may follow, as `arguments.rest`.
    takes_luigi_options: bool = False
    #: It goes on whatever is wrong in luigi.cfg: the page can be started and stopped all the same.
    despite_mistakes: bool = False


def option(name: str, **settings: Any) -> Option:
    return name, settings


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port, 0 to 65535")
    return int(text)


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more") from None


def refuse_ignored(arguments: argparse.Namespace, action: str, *names: str) -> None:
    """Raises GreenrError for options that are of this action of a command, where another was asked for."""
    for name in names:
        if (value := getattr(arguments, name)) is not None and value is not False:
            said = f"--{name}" + f" {value}" * (value is not True)
            words = f"expected with `greenr {arguments.command.name} {action}` alone"
            raise GreenrError(f"{said}: {words}, and this is `{arguments.action}`: leave it out")


JSON = option("--json", action="store_true", help="for scripts")


def named_first(words: list[str]) -> tuple[str | None, list[str]]:
    """What is named before the options for luigi, if anything is, and these."""
    return (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)


def root_option(arguments: argparse.Namespace) -> list[str]:
    return [f"--root={arguments.root}"] if arguments.root_named else []


def local_time(iso: str) -> str:
    """As it is, if somebody has written something else there."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    return iso


def in_groups(
    rows: Iterable[Row], title: Callable[[Row], str], state: Callable[[Row], object]
) -> list[tuple[str, str, list[Row]]]:
    """Each row with its title; but together those that tell of parts of one class and say the same, and how many."""
    groups: dict[object, list[Row]] = {}
    for number, row in enumerate(rows):
        name, part = without_part(title(row))
        groups.setdefault((name, state(row)) if part else number, []).append(row)
    named = ((*without_part(title(first)), [first, *others]) for first, *others in groups.values())
    return [
        (name, f"{len(same)} part{'s' * (len(same) > 1)}" if part else "", same) for name, part, same in named
    ]


def in_few(
    rows: Iterable[Row], title: Callable[[Row], str], *alike: Callable[[Row], object]
) -> list[tuple[str, list[Row]]]:
    """Each row with its title; but of a stage that has more than MANY, such as one a class, together those that are
    `alike`, the rarest first: by the first of these that leaves no more than MANY, or the last one."""
    of_stages: dict[object, list[Row]] = {}
    for number, row in enumerate(rows):
        stage, of_class, _ = title(row).partition("(")
        of_stages.setdefault(stage if of_class else number, []).append(row)
    few = list[list[Row]]()
    for of_stage in of_stages.values():
        groups: dict[object, list[Row]] = {number: [row] for number, row in enumerate(of_stage)}
        for key in alike:
            if len(groups) > MANY:
                groups = {}
                for row in of_stage:
                    groups.setdefault(key(row), []).append(row)
        few += sorted(groups.values(), key=len)
    return [
        (title(first) + (f" and {len(others):,} more" if others else ""), [first, *others])
        for first, *others in few
    ]


def megabytes(count: int) -> str:
    return f"{count / 2**20:>9,.1f} MB"
