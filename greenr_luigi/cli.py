"""`greenr`: look at the graph, curate pictures, keep house. `luigi --module tasks DeployApp` runs the graph."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from greenr_luigi import commands, luigi_cfg
from greenr_luigi.commands import Command
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.staleness import data_root

# What imports Luigi is imported in functions: where luigi.cfg does not parse, `import luigi` ends in a traceback.

Option = tuple[str, dict[str, Any]]


class Output:
    """The standard output. It drops what cannot be written, as at a full disk, and notes that: no run ends because
    nobody listens."""

    def __init__(self, on: TextIO) -> None:
        self.on = on
        self.fault: OSError | None = None
        if isinstance(on, io.TextIOWrapper) and on.errors == "strict":
            # A label need not have letters of the locale.
            on.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.on, name)

    def write(self, text: str) -> int:
        with self._noting():
            self.on.write(text)
        return len(text)

    def flush(self) -> None:
        with self._noting():
            self.on.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = error


def main(argv: Sequence[str] | None = None) -> int:
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # What is opened next would get the number of the closed one, and what a child process says.
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: PTH123, SIM115
    output = Output(sys.stdout)
    with contextlib.redirect_stdout(output):
        try:
            status = _main(argv)
            output.flush()
        except SystemExit:
            output.flush()
            if output.fault is None:
                raise
            status = 0
    if output.fault is None:
        return status
    # Or Python would say it in its own words when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    if isinstance(output.fault, BrokenPipeError):
        return status or 128 + signal.SIGPIPE  # Whoever read has seen enough, as `| head` has.
    print(
        f"greenr: the standard output cannot be written ({output.fault.strerror}): mend that", file=sys.stderr
    )
    return status or 1


def _main(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        defaults = argparse.Namespace(root=None, module="tasks")
        arguments, rest = parser.parse_known_args(argv, defaults)
        if rest and arguments.run not in TAKES_OPTIONS:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.rest, arguments.root_named = rest, arguments.root is not None
        luigi_cfg.check_working_directory()
        with _told(arguments):
            luigi_cfg.check()
            with _needed_settings(arguments.run):
                arguments.root = data_root_of(arguments)
                with os_refusals_explained(arguments.root):
                    if arguments.root.exists() and not arguments.root.is_dir():
                        raise GreenrError(f"--root {arguments.root}: expected a folder; that is a file")
                    if data_root.why_not_ours(arguments.root) is None:
                        # It may be another user's, or its disk read-only.
                        with contextlib.suppress(OSError):
                            data_root.mark(arguments.root)
                    return arguments.run(arguments) or 0
    except GreenrError as error:
        print(f"greenr: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # Who did that knows.


def _told(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Nobody may look at what ends `greenr run` before there is a run."""
    if arguments.run is not commands.run_pipeline:
        return contextlib.nullcontext()
    from greenr_luigi.operations.notify import Watch

    return Watch(lambda: arguments.root, lambda words: print(f"greenr: {words}", file=sys.stderr))


def data_root_of(arguments: argparse.Namespace) -> Path:
    from greenr_luigi.operations import stages
    from greenr_luigi.stage import PipelineStage

    if arguments.root is None:
        return stages.default_root(arguments.module)
    root: Path = PipelineStage.root.normalize(arguments.root)
    return root


def _needed_settings(command: Command) -> contextlib.AbstractContextManager[None]:
    """The page can be started and stopped whatever else is wrong in luigi.cfg."""
    if command not in STARTS_OR_STOPS:
        return contextlib.nullcontext()
    from greenr_luigi import settings

    return settings.mistakes_told(lambda words: print(f"greenr: {words}", file=sys.stderr))


def build_parser() -> argparse.ArgumentParser:
    # Before the command and behind it; the later one holds.
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--root", type=Path, help=ROOT)
    everywhere.add_argument("--module", help="where the stages are defined: tasks")
    parser = argparse.ArgumentParser(prog="greenr", description=__doc__, parents=[everywhere])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, help, options in COMMANDS:
        command = subparsers.add_parser(name, help=help, description=help, parents=[everywhere])
        command.set_defaults(run=run)
        for option, settings in options:
            command.add_argument(option, **settings)
    return parser


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port, 0 to 65535")
    return int(text)


ROOT = "the data root; that of luigi.cfg if absent"
JSON: Option = ("--json", {"action": "store_true", "help": "for scripts"})
KEEP = "the newest N of each stage stay (2), all that is live, and the last pictures found on the web"
PRUNE: Sequence[Option] = (
    ("--keep", {"type": int, "default": 2, "metavar": "N", "help": KEEP}),
    ("--dry-run", {"action": "store_true", "help": "only say what would go"}),
)
PICTURES: Option = ("pictures", {"nargs": "+", "help": "picture files, or their sha256"})
LABELLED: Sequence[Option] = (
    ("--new", {"action": "store_true", "help": "the label is a class that the next run brings in"}),
    ("label", {"help": "the class that the pictures show"}),
    PICTURES,
)
PORT: Option = ("--port", {"type": port, "default": 0, "help": "of 127.0.0.1; any free one if absent"})
STATUS = (
    "print each stage, complete or stale and why; runs nothing. Of what was deployed last, or as named as for luigi: "
    "TrainModel --epochs 20"
)
ACCEPT = "let a stage's output count as made from the code, libraries and inputs of now, without a rerun"
STAGE: Option = ("stage", {"help": "such as TrainModel; options as for status may follow"})
RELEASE: Option = (
    "release",
    {
        "nargs": "?",
        "metavar": "RELEASE",
        "help": "one that `greenr releases` lists; the one before if absent",
    },
)
INIT = (
    "write a luigi.cfg with what is to be run, in this folder or one that is named first: --classes ripe,unripe "
    "--limit 150, or any as for luigi"
)
RUN = "run the pipeline unattended: again after a passing fault, with a log, pruning after; options as for luigi"
SCHEDULED = (
    "have cron or systemd run this folder daily, and start its page at boot (and, as [dashboard] boot, that)"
)
SCHEDULE: Sequence[Option] = (
    ("action", {"choices": ["install", "show", "remove"]}),
    ("--at", {"metavar": "HH:MM", "help": "when; at night, each folder at a time of its own, if absent"}),
    (
        "--systemd",
        {"action": "store_true", "help": "by a timer of systemd (root's is the system's) and not by cron"},
    ),
)
STAYS = "and stay while it runs, as systemd wants it; a page that `greenr stop` has stopped is not started"
STAY: Option = ("--stay", {"action": "store_true", "help": STAYS})
UNLESS = "as the schedule does at boot: a page that `greenr stop` has stopped is not started"
UNLESS_STOPPED: Option = ("--unless-stopped", {"action": "store_true", "help": UNLESS})
NGINX = (
    "print a configuration of nginx: the page, as it was deployed last, and the dashboard, closed by default"
)
NGINX_OPTIONS: Sequence[Option] = (
    (
        "--name",
        {"action": "append", "default": [], "help": "such as example.org; besides [server] allowed_hosts"},
    ),
    (
        "--listen",
        {"action": "append", "metavar": "ADDRESS", "help": "80 on all addresses if absent; 127.0.0.1:8080"},
    ),
    (
        "--dashboard",
        {"default": "/dashboard", "metavar": "PATH", "help": "the dashboard's: /dashboard if absent"},
    ),
    (
        "--allow",
        {"default": "", "metavar": "NETWORKS", "help": "10.1.0.0/16,...: who sees it without a password"},
    ),
    (
        "--passwords",
        {
            "default": "/etc/nginx/greenr.password",
            "metavar": "FILE",
            "help": "for all others, as of htpasswd",
        },
    ),
    (
        "--resolver",
        {
            "default": "",
            "metavar": "ADDRESS",
            "help": "name server to ask again and again: 127.0.0.11 in Docker",
        },
    ),
)
DASHBOARD = "start luigid, whose page shows the stages as they run, with a page of all runs; runs here use it"
DASHBOARDS: Sequence[Option] = (
    ("action", {"nargs": "?", "choices": ["start", "stop"], "default": "start", "help": "start if absent"}),
    ("--port", {"type": port, "help": "that of luigi.cfg if absent"}),
    ("--stay", {"action": "store_true", "help": "in the foreground, as systemd wants it"}),
)
PREDICT = (
    "answer all pictures of a folder or list, by the release that serves; a line each. Where it was ended early, the "
    "same again does the rest"
)
GIVEN = "a folder, of which all below counts, or a text file of paths or addresses, one a line"
PREDICTED: Sequence[Option] = (
    ("pictures", {"type": Path, "metavar": "FOLDER|LIST", "help": GIVEN}),
    (
        "--csv",
        {"action": "store_const", "dest": "form", "const": "csv", "default": "words", "help": "as a table"},
    ),
    (
        "--jsonl",
        {
            "action": "store_const",
            "dest": "form",
            "const": "jsonl",
            "default": "words",
            "help": "JSON, a line each",
        },
    ),
)
#: Name, function, help, options.
COMMANDS: Sequence[tuple[str, Command, str, Sequence[Option]]] = (
    ("init", commands.init_folder, INIT, []),
    ("run", commands.run_pipeline, RUN, []),
    ("notify", commands.send_test, "send a message to whom luigi.cfg names under [notify], to see that it comes", []),
    ("schedule", commands.schedule_runs, SCHEDULED, SCHEDULE),
    ("dashboard", commands.run_dashboard, DASHBOARD, DASHBOARDS),
    ("status", commands.show_status, STATUS, [JSON]),
    ("accept", commands.accept_stage, ACCEPT, [STAGE]),
    ("history", commands.show_history, "print what ran, when, why and what came of it, oldest first", [JSON]),
    ("usage", commands.show_usage, "print what each output takes on disk, and which are live", [JSON]),
    ("prune", commands.prune_outputs, "remove outputs of earlier parameters; never a person's picture", PRUNE),
    ("reject", commands.curate("reject"), "take pictures out of the data set, for good", [PICTURES]),
    ("relabel", commands.curate("relabel"), "say what pictures really show", LABELLED),
    ("restore", commands.curate("restore"), "take back what was said of pictures, or that they were added", [PICTURES]),
    ("add", commands.curate("add"), "add pictures of your own to a class", LABELLED),
    ("review", commands.review_pictures, "go through doubtful pictures on a local page, with keys", [PORT]),
    ("predict", commands.predict, PREDICT, PREDICTED),
    ("rollback", commands.rollback, "let the server serve the release before this one, or any other", [RELEASE]),
    ("releases", commands.list_releases, "list the releases, the last to serve last: since when, and how accurate", []),
    ("server", commands.show_server, "print where the page answers, since when, and how it was started", [JSON]),
    ("start", commands.start_server, "serve the last good release, as after a reboot", [STAY, UNLESS_STOPPED]),
    ("stop", commands.stop_server, "stop the web classifier", []),
    ("nginx", commands.print_nginx, NGINX, NGINX_OPTIONS),
)  # fmt: skip

#: Options as for luigi may follow these. Whatever is wrong in luigi.cfg, those go on.
TAKES_OPTIONS = (commands.show_status, commands.accept_stage, commands.init_folder, commands.run_pipeline)
STARTS_OR_STOPS = (
    commands.run_pipeline, commands.start_server, commands.stop_server, commands.show_server, commands.rollback,
    commands.list_releases, commands.run_dashboard,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
