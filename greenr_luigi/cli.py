"""`greenr`: look at the graph, curate pictures, keep house. `luigi --module tasks DeployApp` runs the graph."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from greenr_luigi import luigi_cfg
from greenr_luigi.commands import page, pictures, running, stages
from greenr_luigi.commands.command import Command
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.staleness import data_root

# What imports Luigi is imported in functions: where luigi.cfg does not parse, `import luigi` ends in a traceback.


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
        if rest and not arguments.command.takes_luigi_options:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.rest, arguments.root_named = rest, arguments.root is not None
        luigi_cfg.check_working_directory()
        with _told(arguments):
            luigi_cfg.check()
            with _needed_settings(arguments.command):
                arguments.root = data_root_of(arguments)
                with os_refusals_explained(arguments.root):
                    if arguments.root.exists() and not arguments.root.is_dir():
                        raise GreenrError(f"--root {arguments.root}: expected a folder; that is a file")
                    if data_root.why_not_ours(arguments.root) is None:
                        # It may be another user's, or its disk read-only.
                        with contextlib.suppress(OSError):
                            data_root.mark(arguments.root)
                    return arguments.command.run(arguments) or 0
    except GreenrError as error:
        print(f"greenr: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # Who did that knows.


def _told(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Nobody may look at what ends `greenr run` before there is a run."""
    if arguments.command.run is not running.run_pipeline:
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
    if not command.despite_mistakes:
        return contextlib.nullcontext()
    from greenr_luigi import settings

    return settings.mistakes_told(lambda words: print(f"greenr: {words}", file=sys.stderr))


@functools.cache
def build_parser() -> argparse.ArgumentParser:
    # Before the command and behind it; the later one holds.
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--root", type=Path, help=ROOT)
    everywhere.add_argument("--module", help="where the stages are defined: tasks")
    parser = argparse.ArgumentParser(prog="greenr", description=__doc__, parents=[everywhere])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=command.help, parents=[everywhere]
        )
        subparser.set_defaults(command=command)
        for option, settings in command.options:
            subparser.add_argument(option, **settings)
        if command.one_of:
            one_of = subparser.add_mutually_exclusive_group()
            for option, settings in command.one_of:
                one_of.add_argument(option, **settings)
    return parser


ROOT = "the data root; that of luigi.cfg if absent"
COMMANDS = (*running.COMMANDS, *stages.COMMANDS, *pictures.COMMANDS, *page.COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
