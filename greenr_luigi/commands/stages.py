"""Commands that look at stages and their outputs: status, accept, history, usage, prune."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from greenr_luigi import contracts, run_history
from greenr_luigi.commands.command import (
    JSON,
    Command,
    in_few,
    in_groups,
    local_time,
    megabytes,
    named_first,
    option,
    whole,
)
from greenr_luigi.text import percent


def show_status(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import last_run, status

    stage, options = named_first(arguments.rest)
    if not arguments.rest and (options := last_run.options(arguments.root, arguments.module)):
        # A thousand classes would be 15 KB.
        said = [each if len(each) <= 200 else f"{each[:200]}..." for each in options]
        print(f"as last deployed, with {shlex.join(said)}", file=sys.stderr)
    rows = status.status(stage, options, arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    lines = list[tuple[str, str, str]]()
    for name, parts, (row, *_) in in_groups(rows, lambda row: row["stage"], lambda row: row["state"]):
        accepted = f"accepted without a rerun: {', '.join(row['accepted'])}" if row["accepted"] else ""
        words = [parts, row["cause"], accepted, row["warning"] and f"warning: {row['warning']}"]
        lines.append((name, row["state"], "; ".join(filter(None, words))))
    few = in_few(lines, lambda line: line[0], lambda line: line[1:], lambda line: (line[1], not line[2]))
    width = max(len(name) for name, _ in few)
    for name, alike in few:
        _, state, words_of_first = alike[0]
        first = "first: " * (len({line[2] for line in alike}) > 1)
        print(f"{name:{width}}  {state:8}  {first}{words_of_first}".rstrip())


def accept_stage(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import status

    for row, accepted in status.accept(arguments.stage, arguments.rest, arguments.root, arguments.module):
        words = f"accepted: {', '.join(accepted)}" if accepted else "nothing to accept"
        print(f"{row['stage']}  {words}{'' if row['cause'] is None else '; stale still: ' + row['cause']}")


def show_history(arguments: argparse.Namespace) -> None:
    lost = f"{arguments.root / run_history.FILE}: what cannot be read as a line of the history, and is passed over:"
    events = run_history.read(arguments.root, lambda number: print(lost, number, file=sys.stderr))
    if arguments.json:
        print(json.dumps([contracts.plain(event) for event in events], indent=2))
        return
    for run, of_run in run_history.by_run(events):
        shown = run or of_run[-1]
        print(
            f"{local_time(shown.ended)}  {summary_of(run) if run else 'has not ended, or was not asked to deploy'}"
        )
        groups = in_groups(of_run, lambda one: one.name, lambda one: one.outcome)
        for name, alike in in_few(groups, lambda group: group[0], lambda group: group[2][0].outcome):
            _, parts, (event, *_) = alike[0]
            first = ", ".join(filter(None, [parts, "first: " * bool(parts or alike[1:])]))
            print(f"{'':16}  - {name}  {first}{summary_of(event)}")
    if not events:
        print("nothing has run yet")


def summary_of(event: run_history.Event) -> str:
    # Which engines are asked again the warning says, too.
    # Lines of earlier versions have a `layout`, for programs.
    values = {
        name: value for name, value in event.summary.items() if name not in ("searched", "retry", "layout")
    }
    summary = ", ".join(f"{name} {_shown(name, value)}" for name, value in values.items())
    return "  ".join(filter(None, [event.outcome, f"{event.seconds:.1f} s", summary, event.because]))


def _shown(name: str, value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{key} {number}' for key, number in value.items())})"
    return percent(value, 1) if name == "accuracy" and isinstance(value, int | float) else str(value)


def show_usage(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import usage

    rows = usage.usage(arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    groups = in_groups(rows, lambda row: row["stage"], lambda row: row["live"])
    for name, alike in in_few(groups, lambda group: group[0], lambda group: group[2][0]["live"]):
        _, parts, (first, *_) = alike[0]
        size = megabytes(sum(row["bytes"] for _, _, of_name in alike for row in of_name))
        place = parts or (first["place"] if len(alike) == 1 else f"{first['place']} ...")
        print(f"{size}  {first['finished']}  {'live' if first['live'] else '    '}  {name}  {place}")
    print(f"{megabytes(usage.room(arguments.root, rows))}  in all: what several link to counts once")


def prune_outputs(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import prune

    removals = prune.prune(arguments.root, arguments.keep, arguments.dry_run, arguments.module)
    verb = "would remove" if arguments.dry_run else "removed"
    for removal in removals:
        paths = " ".join(str(path.relative_to(arguments.root)) for path in removal.paths)
        paths = paths or "of pictures that are gone"
        print(f"{verb}  {megabytes(removal.bytes)}  {removal.what}  {paths}")
    if not removals:
        print("nothing to remove")


STATUS = (
    "print each stage, complete or stale and why; runs nothing. Of what was deployed last, or as named as for luigi: "
    "TrainModel --epochs 20"
)
ACCEPT = "let a stage's output count as made from the code, libraries and inputs of now, without a rerun"
STAGE = option("stage", help="such as TrainModel; options as for status may follow")
HISTORY = "print what ran, when, why and what came of it, oldest first"
USAGE = "print what each output takes on disk, and which are live"
PRUNE = "remove outputs of earlier parameters; never a person's picture"
KEEP = "the newest N of each stage stay (2), all that is live, and the last pictures found on the web"

COMMANDS = (
    Command("status", show_status, STATUS, [JSON], takes_luigi_options=True),
    Command("accept", accept_stage, ACCEPT, [STAGE], takes_luigi_options=True),
    Command("history", show_history, HISTORY, [JSON]),
    Command("usage", show_usage, USAGE, [JSON]),
    Command(
        "prune",
        prune_outputs,
        PRUNE,
        [
            option("--keep", type=whole, default=2, metavar="N", help=KEEP),
            option("--dry-run", action="store_true", help="only say what would go"),
        ],
    ),
)
