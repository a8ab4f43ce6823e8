"""`greenr`: look at the graph, curate pictures, keep house. Running it is `luigi --module tasks DeployApp`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import last_run, prune, stages, status, usage

Command = Callable[[argparse.Namespace], int]


def home(text: str) -> Path:
    return Path(text).expanduser()


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port, 0 to 65535")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="greenr", description=__doc__)
    parser.add_argument("--root", type=home, help="the data root; that of luigi.cfg if absent")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        return sub

    status = command("status", show_status, "print each stage, complete or stale and why; runs nothing")
    status.add_argument("--json", action="store_true", help="for scripts")
    status.add_argument(
        "stage", nargs="?", default="DeployApp", help="the stage whose graph to show: DeployApp"
    )
    status.add_argument("options", nargs=argparse.REMAINDER, help="parameters, as for luigi: --epochs 20")

    usage = command("usage", show_usage, "print what each output takes on disk, and which are live")
    usage.add_argument("--json", action="store_true", help="for scripts")
    prune = command(
        "prune", prune_outputs, "remove outputs of earlier parameters; never a picture that a person gave"
    )
    prune.add_argument(
        "--keep",
        type=int,
        default=2,
        help="the newest N of each stage stay (2), all that is live, and the last pictures found on the web",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")

    reject = command("reject", curate("reject"), "take pictures out of the data set, for good")
    reject.add_argument("pictures", nargs="+", help="picture files, or their sha256")
    relabel = command("relabel", curate("relabel"), "say what pictures really show")
    relabel.add_argument("label", help="the right class")
    relabel.add_argument("pictures", nargs="+", help="picture files, or their sha256")
    restore = command(
        "restore", curate("restore"), "take back what was said of pictures, or that they were added"
    )
    restore.add_argument("pictures", nargs="+", help="picture files, or their sha256")
    add = command("add", curate("add"), "add pictures of your own to a class")
    add.add_argument("label", help="the class")
    add.add_argument("pictures", nargs="+", type=Path, help="picture files")
    for sub in (relabel, add):
        sub.add_argument(
            "--new", action="store_true", help="the label is a class that the next run brings in"
        )

    look = command("review", review_pictures, "go through doubtful pictures on a local page, with keys")
    look.add_argument("--port", type=port, default=0, help="of 127.0.0.1; any free one if absent")

    command("rollback", rollback, "let the server serve the release before this one")
    command("releases", list_releases, "list the releases, oldest first")
    command("stop", stop_server, "stop the web classifier")

    # argparse keeps options behind a positional for itself unless told apart by hand: they are Luigi's here.
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.run is not show_status:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    if arguments.root is None:
        arguments.root = stages.default_root()
    try:
        return int(arguments.run(arguments))
    except (GreenrError, ValueError, OSError, RuntimeError) as error:
        print(f"greenr: {error}", file=sys.stderr)
        return 1


def show_status(arguments: argparse.Namespace) -> int:
    stages = status.status(arguments.stage, [*arguments.options, *arguments.rest], arguments.root)
    if arguments.json:
        print(json.dumps(stages, indent=2))
    else:
        width = max(len(stage["stage"]) for stage in stages)
        for stage in stages:
            print(
                f"{stage['stage']:{width}}  {'complete' if stage['cause'] is None else 'stale     ' + stage['cause']}"
            )
    return 0


def show_usage(arguments: argparse.Namespace) -> int:
    rows = usage.usage(arguments.root)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            live = "live" if row["live"] else "    "
            print(f"{megabytes(row['bytes']):>12}  {row['finished']}  {live}  {row['stage']}  {row['place']}")
        print(f"{megabytes(sum(row['bytes'] for row in rows)):>12}  in all")
    return 0


def prune_outputs(arguments: argparse.Namespace) -> int:
    gone = prune.prune(arguments.root, arguments.keep, arguments.dry_run)
    for row in gone:
        verb = "would remove" if arguments.dry_run else "removed"
        print(f"{verb}  {megabytes(row['bytes']):>12}  {row['stage']}  {row['place']}")
    if not gone:
        print("nothing to remove")
    return 0


def megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MB"


def curate(action: str) -> Command:
    def run(arguments: argparse.Namespace) -> int:
        from greenr_luigi.dataset import curation

        call: Any = getattr(curation, action)
        label = [meant(arguments.root, arguments.label, arguments.new)] if "label" in arguments else []
        if action == "add":
            for picture in arguments.pictures:
                call(arguments.root, *label, picture)
        else:
            call(arguments.root, *label, arguments.pictures)
        again = last_run.command_to_run_again(arguments.root)
        print(f"{action}: {len(arguments.pictures)} noted; the next run takes it in: {again}")
        return 0

    return run


def meant(root: Path, text: str, new: bool) -> str:
    """The class of the last run that a person typed. Raises ValueError if there is none of that name and it is not said
    to be new: no run would use the picture, and nobody would notice."""
    from greenr_luigi import settings
    from greenr_luigi.text import composed

    label = settings.class_name(text)
    found = last_run.dataset_and_evaluation(root)
    if found is None:
        print(f"no model under {root} tells which classes there are: {label!r} is taken as it is")
        return label
    classes = json.loads((found[1] / "metrics.json").read_text(encoding="utf-8"))["classes"]
    known = next((name for name in classes if composed(name) == composed(label)), None)
    if known is None and not new:
        raise ValueError(
            f"{label!r} is no class of the last run (--new if the next one brings it in)"
            f"{settings.nearest(label, classes)}"
        )
    return known or label


def review_pictures(arguments: argparse.Namespace) -> int:
    from greenr_luigi.review import cases, page

    dataset, evaluation = last_run.dataset_and_evaluation(arguments.root) or (None, None)
    metrics = json.loads((evaluation / "metrics.json").read_text()) if evaluation else {"classes": []}
    waiting = cases.undecided(arguments.root, dataset, evaluation)
    classes = metrics["classes"] or sorted({case.label for case in waiting if case.label})
    walk = cases.Review(arguments.root, waiting, classes, last_run.command_to_run_again(arguments.root))
    page.serve(walk, arguments.port)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    from greenr_luigi.serving import processes, releases, server

    earlier = releases.rollback(arguments.root / "releases")
    if processes.master_pid(arguments.root / "server") is None:
        print(
            f"release {earlier} will be served when a server runs: luigi --module tasks DeployApp starts one"
        )
    else:
        served = server.wait_for_release(arguments.root / "server", earlier, 10)
        print(f"{served.url} now serves release {earlier} in all {len(served.workers)} workers")
    print("it stays until there is another model, or until you name the stage: --force DeployApp")
    return 0


def list_releases(arguments: argparse.Namespace) -> int:
    from greenr_luigi.serving import releases

    store = arguments.root / "releases"
    for digest in releases.releases(store):
        print(digest, "  serves now" if digest == releases.current(store) else "")
    return 0


def stop_server(arguments: argparse.Namespace) -> int:
    from greenr_luigi.serving import server

    print("stopped" if server.stop(arguments.root / "server") else "no server was running")
    return 0


if __name__ == "__main__":
    sys.exit(main())
