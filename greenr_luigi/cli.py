"""`greenr`: look at the graph, curate pictures, keep house. Running it is `luigi --module tasks DeployApp`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import last_run, prune, stages, status, usage
from greenr_luigi.text import composed, did_you_mean

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    parser, arguments = build_parser(), None
    # argparse keeps options behind a positional for itself unless told apart by hand: they are Luigi's in `status`.
    arguments, luigi_options = parser.parse_known_args(argv)
    if luigi_options and arguments.run is not show_status:
        parser.error(f"unrecognized arguments: {' '.join(luigi_options)}")
    arguments.luigi_options = luigi_options
    try:
        if arguments.root is None:
            arguments.root = stages.default_root()
        return int(arguments.run(arguments))
    except GreenrError as error:
        print(f"greenr: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="greenr", description=__doc__)
    parser.add_argument("--root", type=folder, default=None, help=ROOT_HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        # Behind the name, too; not given there, what stands before it holds.
        added.add_argument("--root", type=folder, default=argparse.SUPPRESS, help=ROOT_HELP)
        if name not in ("rollback", "releases", "stop"):
            added.add_argument("--module", default="tasks", help="where the stages are defined: tasks")
        return added

    stage_states = command("status", show_status, "print each stage, complete or stale and why; runs nothing")
    stage_states.add_argument("--json", action="store_true", help="for scripts")
    stage_states.add_argument("stage", nargs="?", help="the stage whose graph to show: DeployApp")
    stage_states.add_argument(
        "options", nargs=argparse.REMAINDER, help="parameters, as for luigi: --epochs 20"
    )

    show = command("usage", show_usage, "print what each output takes on disk, and which are live")
    show.add_argument("--json", action="store_true", help="for scripts")
    remove = command(
        "prune", prune_outputs, "remove outputs of earlier parameters; never a picture that a person gave"
    )
    keep = "the newest N of each stage stay (2), all that is live, and the last pictures found on the web"
    remove.add_argument("--keep", type=int, default=2, help=keep)
    remove.add_argument("--dry-run", action="store_true", help="only say what would go")

    for name, label, pictures, help in CURATION:
        curation = command(name, curate(name), help)
        if label:
            curation.add_argument("label", help=label)
            new = "the label is a class that the next run brings in"
            curation.add_argument("--new", action="store_true", help=new)
        curation.add_argument("pictures", nargs="+", help=pictures)

    review = command("review", review_pictures, "go through doubtful pictures on a local page, with keys")
    review.add_argument("--port", type=port, default=0, help="of 127.0.0.1; any free one if absent")

    command("rollback", rollback, "let the server serve the release before this one")
    command("releases", list_releases, "list the releases, oldest first")
    command("stop", stop_server, "stop the web classifier")
    return parser


ROOT_HELP = "the data root; that of luigi.cfg if absent"
FILES = "picture files, or their sha256"
#: Command, what its label is if it takes one, what its pictures are, what it does.
CURATION = (
    ("reject", "", FILES, "take pictures out of the data set, for good"),
    ("relabel", "the right class", FILES, "say what pictures really show"),
    ("restore", "", FILES, "take back what was said of pictures, or that they were added"),
    ("add", "the class", "picture files", "add pictures of your own to a class"),
)


def folder(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: there is no such user; write the path in full, from / on"
        ) from None


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port, 0 to 65535")
    return int(text)


def show_status(arguments: argparse.Namespace) -> int:
    options = [*arguments.options, *arguments.luigi_options]
    rows = status.status(arguments.stage, options, arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(stage["stage"]) for stage in rows)
    for stage in rows:
        state = "complete" if stage["cause"] is None else f"stale     {stage['cause']}"
        print(f"{stage['stage']:{width}}  {state}")
    return 0


def show_usage(arguments: argparse.Namespace) -> int:
    rows = usage.usage(arguments.root, arguments.module)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        live = "live" if row["live"] else "    "
        print(f"{megabytes(row['bytes'])}  {row['finished']}  {live}  {row['stage']}  {row['place']}")
    print(f"{megabytes(sum(row['bytes'] for row in rows))}  in all")
    return 0


def prune_outputs(arguments: argparse.Namespace) -> int:
    removed = prune.prune(arguments.root, arguments.keep, arguments.dry_run, arguments.module)
    verb = "would remove" if arguments.dry_run else "removed"
    for row in removed:
        print(f"{verb}  {megabytes(row['bytes'])}  {row['stage']}  {row['place']}")
    if not removed:
        print("nothing to remove")
    return 0


def megabytes(count: int) -> str:
    return f"{count / 2**20:>9,.1f} MB"


def curate(action: str) -> Command:
    def run(arguments: argparse.Namespace) -> int:
        from greenr_luigi.dataset import curation

        root, pictures = arguments.root, arguments.pictures
        label = known_label(arguments) if "label" in arguments else ""
        if action == "add":
            for picture in pictures:
                curation.add(root, label, Path(picture))
        elif action == "relabel":
            curation.relabel(root, label, pictures)
        else:
            {"reject": curation.reject, "restore": curation.restore}[action](root, pictures)
        again = last_run.command_to_run_again(root, arguments.module)
        print(f"{action}: {len(pictures)} noted; the next run takes it in: {again}")
        return 0

    return run


def known_label(arguments: argparse.Namespace) -> str:
    """The class of the last run that a person typed. Raises GreenrError if there is none of that name, and it is not
    said to be new: no run would use the picture, and nobody would notice."""
    label = composed(arguments.label).strip()
    classes = last_run.classes(arguments.root, arguments.module)
    if classes is None:
        print(f"no model under {arguments.root} tells which classes there are: {label!r} is taken as it is")
        return label
    known = next((name for name in classes if composed(name) == label), None)
    if known is None and not arguments.new:
        raise GreenrError(
            f"{label!r} is no class of the last run (--new if the next one brings it in): "
            f"{did_you_mean(label, classes)}"
        )
    return known or label


def review_pictures(arguments: argparse.Namespace) -> int:
    from greenr_luigi.review import cases, page

    root, module = arguments.root, arguments.module
    waiting = cases.undecided(root, *(last_run.dataset_and_evaluation(root, module) or (None, None)))
    classes = last_run.classes(root, module) or sorted({case.label for case in waiting if case.label})
    again = last_run.command_to_run_again(root, module)
    page.serve(cases.Review(root, waiting, classes, again), arguments.port)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    from greenr_luigi.serving import processes, releases, server

    earlier, run_dir = releases.rollback(arguments.root / "releases"), arguments.root / "server"
    if processes.master_pid(run_dir) is None:
        start = "luigi --module tasks DeployApp"
        print(f"release {earlier} will be served when a server runs: {start} starts one")
    else:
        served = server.wait_for_release(run_dir, earlier, 10)
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
