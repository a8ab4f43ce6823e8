"""Commands about pictures: reject, relabel, restore, add, review, predict."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from greenr_luigi.commands.command import Command, Option, option, port


def curate(action: str) -> Callable[[argparse.Namespace], None]:
    def run(arguments: argparse.Namespace) -> None:
        from greenr_luigi.operations import curation, last_run

        root, module, label = arguments.root, arguments.module, ""
        if "label" in arguments:
            label = curation.known_label(root, arguments.label, arguments.new, module)
        curation.decide(root, action, arguments.pictures, label, module)
        again = last_run.command_to_run_again(root, module)
        print(f"{action}: {len(arguments.pictures)} noted; the next run takes it in: {again}")

    return run


def review_pictures(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations import curation

    curation.review(arguments.root, arguments.port, arguments.module)


def predict(arguments: argparse.Namespace) -> None:
    from greenr_luigi.operations.predict import predict

    predict(arguments.root, arguments.pictures, arguments.form)


def form(name: str, words: str) -> Option:
    """One form of what goes to the standard output, of which there is one."""
    return option(f"--{name}", action="store_const", dest="form", const=name, default="words", help=words)


PICTURES = option("pictures", nargs="+", help="picture files, or their sha256")
LABELLED = (
    option("--new", action="store_true", help="the label is a class that the next run brings in"),
    option("label", help="the class that the pictures show"),
    PICTURES,
)
RESTORE = "take back what was said of pictures, or that they were added"
REVIEW = "look through pictures on a local page: the doubtful one by one, and all as a grid"
PORT = option("--port", type=port, default=0, help="of 127.0.0.1; any free one if absent")
PREDICT = (
    "answer all pictures of a folder or list, by the release that serves; a line each. Where it was ended early, the "
    "same again does the rest"
)
GIVEN = "a folder, of which all below counts, or a text file of paths or addresses, one a line or in a table"

COMMANDS = (
    Command("reject", curate("reject"), "take pictures out of the data set, for good", [PICTURES]),
    Command("relabel", curate("relabel"), "say what pictures really show", LABELLED),
    Command("restore", curate("restore"), RESTORE, [PICTURES]),
    Command("add", curate("add"), "add pictures of your own to a class", LABELLED),
    Command("review", review_pictures, REVIEW, [PORT]),
    Command(
        "predict",
        predict,
        PREDICT,
        [option("pictures", type=Path, metavar="FOLDER|LIST", help=GIVEN)],
        one_of=[form("csv", "as a table"), form("jsonl", "JSON, a line each")],
    ),
)
