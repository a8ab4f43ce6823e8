"""What a person decides about pictures: taken down for the next run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import last_run
from greenr_luigi.text import composed, did_you_mean


def decide(root: Path, action: str, pictures: Sequence[str], label: str = "", module: str = "tasks") -> None:
    """Note an action of `greenr` ("reject", "relabel", "restore" or "add") for each picture, a file or a sha256. Raises
    GreenrError for what is no picture; then nothing is noted."""
    from greenr_luigi.dataset import curation
    from greenr_luigi.pictures.terms import Terms

    if not root.exists():
        # It is made with the first decision, and is for its owner alone.
        os.umask(0o077)
    if action == "add":
        terms = Terms(last_run.min_side(root, module), own=True)
        for file in map(Path, pictures):
            curation.picture(file, label, terms)
        for file in map(Path, pictures):
            curation.add(root, label, file, terms=terms)
    elif action == "relabel":
        curation.relabel(root, label, pictures)
    elif action == "restore":
        curation.restore(root, pictures)
    else:
        curation.reject(root, pictures)


def known_label(root: Path, text: str, new: bool, module: str = "tasks") -> str:
    """The class that a person typed, as the last run spells it. Raises GreenrError if that has no such class, unless it
    is said to be `new`: no run would use the picture, and nobody would notice."""
    label = composed(text).strip()
    classes = last_run.classes(root, module)
    if classes is None:
        print(f"no model under {root} tells which classes there are: {label!r} is taken as it is")
        return label
    known = next((name for name in classes if composed(name) == label), None)
    if known is None and not new:
        raise GreenrError(
            f"{label!r} is no class of the last run (--new if the next one brings it in): "
            f"{did_you_mean(label, classes)}"
        )
    return known or label


def review(root: Path, port: int, module: str = "tasks") -> None:
    """Serve the page on which a person goes through doubtful pictures, and the grid of all, until Ctrl-C. Raises
    GreenrError if the port is taken."""
    from greenr_luigi.review import cases, page
    from greenr_luigi.review.catalogue import Catalogue

    waiting = cases.undecided(root, *(last_run.dataset_and_evaluation(root, module) or (None, None)))
    classes = last_run.classes(root, module) or sorted({case.label for case in waiting if case.label})
    catalogue = Catalogue(lambda: last_run.places(root, module), lambda: last_run.state(root, module))
    command = last_run.command_to_run_again(root, module)
    page.serve(cases.Review(root, waiting, classes, command), port, catalogue)
