"""The pictures that a person is asked about, and what they decide.

What visitors said of answers comes first, then the pictures whose label is probably wrong. Each decision is a line of
`curation.csv`, as `greenr reject`, `relabel` and `add` write it. What was decided once is not asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from greenr_luigi import files
from greenr_luigi.dataset import curation, decisions
from greenr_luigi.dataset.decisions import CurationError
from greenr_luigi.evaluation import label_issues
from greenr_luigi.pictures import door
from greenr_luigi.review.batches import Batches
from greenr_luigi.serving import feedback_store
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.traces import file_sha256

#: Verdicts: the picture shows what its label says, or none of the classes. Another class is "=" and its name.
KEEP, REJECT = "keep", "reject"


@dataclass(frozen=True)
class Case:
    """A picture to decide about. `label`: what it is called, empty for none of the classes; `predicted`: what the
    model calls it; `probability`: that of `label`, by a model that did not learn from the picture; None if a visitor
    sent it."""

    path: Path
    sha256: str
    label: str
    predicted: str
    probability: float | None = None

    def read(self) -> bytes:
        """The picture. Raises CurationError if another one lies there by now."""
        data = regular.read(self.path) if self.path.is_file() else b""
        if door.sha256(data) != self.sha256:
            raise CurationError(
                f"{self.path} is no longer the picture that was listed: start the review again"
            )
        return data

    def verdicts(self, classes: Sequence[str]) -> list[str]:
        """What may be decided about it."""
        return [REJECT, *([KEEP] if self.label else []), *(f"={label}" for label in classes)]


class Decided(NamedTuple):
    """A verdict, what it added to curation.csv, and the copy that it made of a visitor's picture."""

    verdict: str
    lines: str
    copy: Path | None


@dataclass
class Review:
    """A walk through cases. Decisions go into the curation file at once."""

    root: Path
    cases: Sequence[Case]
    classes: Sequence[str]
    #: The command by which the graph takes the decisions in.
    command: str = "luigi --module tasks DeployApp --local-scheduler"
    #: By case, in the order in which they were decided.
    decided: dict[int, Decided] = field(default_factory=dict)
    #: What was decided about many at once.
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        self.batches = Batches(self.root)

    def decide(self, number: int, verdict: str) -> None:
        """A later verdict on a case overrules the earlier, which stays where the later one cannot be taken."""
        case, earlier, copy = self.cases[number], self.decided.get(number), None
        case.read()
        label = self._label(case, verdict)
        if verdict == REJECT:
            lines = curation.reject(self.root, [case.path])
        elif case.probability is None:
            added = curation.add(self.root, label, case.path, "a visitor's")
            ours = added.is_new or (earlier is not None and added.copy == earlier.copy)
            lines, copy = added.lines, added.copy if ours else None
        elif label == case.label:
            lines = curation.keep(self.root, [case.sha256])
        else:
            lines = curation.relabel(self.root, label, [case.sha256])
        self.take_back(number)
        self.decided[number] = Decided(verdict, lines, copy)
        if verdict not in (KEEP, REJECT) and label != case.predicted:
            self.batches.digits.use(label)

    def take_back(self, number: int) -> None:
        """All is as it was before the decision: a picture that a person added themselves, before or since, stays."""
        if number in self.decided:
            verdict, lines, copy = self.decided[number]
            decisions.take_back(self.root, lines)
            case = self.cases[number]
            label = self._label(case, verdict)
            if copy is not None and not decisions.says_added(self.root, case.sha256, label):
                copy.unlink(missing_ok=True)
            del self.decided[number]

    @staticmethod
    def _label(case: Case, verdict: str) -> str:
        return case.label if verdict == KEEP else verdict.removeprefix("=")

    def decided_elsewhere(self) -> set[int]:
        """The cases that somebody has decided meanwhile by other means: the grid, or a command."""
        decided = decisions.read_curation(self.root / decisions.FILE).decided
        return {n for n, case in enumerate(self.cases) if case.sha256 in decided and n not in self.decided}

    def next_undecided(self, number: int) -> int:
        """The next case, after the last the first one again; how many there are if none is left."""
        count, done = len(self.cases), self.decided.keys() | self.decided_elsewhere()
        order = [*range(number + 1, count), *range(min(number + 1, count))]
        return next((n for n in order if n not in done), count)


def undecided(root: Path, dataset: Path | None, evaluation: Path | None) -> list[Case]:
    """The cases that no decision of the curation file is about: the last verdict of visitors on each picture, and the
    label issues of an EvaluateModel folder, whose pictures lie in its SplitDataset folder."""
    folder = feedback_store.feedback_folder(root / "releases")
    verdicts = {row.sha256: row for row in feedback_store.read(folder)}
    cases = [Case(folder / row.file, sha, row.label, row.predicted) for sha, row in verdicts.items()]
    if dataset is not None and evaluation is not None:
        for issue in label_issues.read_label_issues(evaluation):
            if path := files.own(dataset, issue.file):
                sha = file_sha256(path)
                cases.append(Case(path, sha, issue.label, issue.suggested, issue.probability))
    decided = decisions.read_curation(root / decisions.FILE).decided
    return [case for case in cases if case.sha256 not in decided]


def remove_decided_feedback(root: Path) -> None:
    """Remove visitors' pictures that have been decided about: what was kept lies in `added/`."""
    folder = feedback_store.feedback_folder(root / "releases")
    feedback_store.remove_pictures(folder, decisions.read_curation(root / decisions.FILE).decided)
