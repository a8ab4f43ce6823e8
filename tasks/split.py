"""SplitDataset: the classes' pictures, cleaned, curated and divided into train, validation and test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenr_luigi.dataset.rows import NOTES
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.parameters import (
    ChoiceParameter,
    ClassesParameter,
    NumberParameter,
    PatternParameter,
    QueriesParameter,
)
from greenr_luigi.sources import registry
from greenr_luigi.sources.source import Request
from greenr_luigi.stage import PipelineStage
from greenr_luigi.text import did_you_mean
from tasks.download import DownloadImages
from tasks.shard import SourceParameters


class SplitDataset(SourceParameters, PipelineStage):
    role = "dataset"

    classes = ClassesParameter(
        description="Class names, with commas (dandelion,grass) or as a JSON list; empty: those of --folder."
    )
    queries = QueriesParameter(
        description='What to search for where it is not the name: {"grass": "lawn grass"}.'
    )
    seed = NumberParameter(
        int, 0, 2**32 - 1, description="Another seed gives another split and another model."
    )
    valid_share = NumberParameter(
        float,
        0,
        1,
        between=True,
        description="Share of the pictures on the side valid: they judge a fine-tuned model, and teach any other.",
    )
    test_share = NumberParameter(
        float, 0, 1, between=True, description="Share of the pictures that judge the model (test)."
    )
    split = ChoiceParameter(
        ("given", "ours"),
        "given: train, valid and test of a folder stay so; ours: all is divided by our rule.",
    )
    group = PatternParameter(
        description="Regular expression: pictures in whose path it captures the same stand on one side."
    )

    uses_inherited = ()
    notes = NOTES
    code = ("greenr_luigi.dataset.split",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.valid_share + self.test_share >= 1:
            raise SettingError(
                f"--valid-share {self.valid_share:g} and --test-share {self.test_share:g}: expected less than 1 "
                "together, for the rest is what the model learns from"
            )
        source = registry.find(self.source)
        if source.needs_folder and self.folder is None:
            raise SettingError(f"--source {self.source} needs --folder: {source.hint}")
        for name in self.queries:
            if name not in self.classes:
                raise SettingError(f"--queries: {name} is no class: {did_you_mean(name, self.classes)}")
        if source.require and self.folder and self.folder.exists():
            request = Request(
                "", "", folder=self.folder, root=Path(self.root), label_pattern=self.label_pattern
            )
            try:
                source.require(request, self.classes)
            except GreenrError as error:
                raise SettingError(str(error)) from None

    def requires(self) -> list[DownloadImages]:
        # A clone of a stage of the same kind asks for no setting: that takes the longest, where there are 1,000.
        first = self.clone(DownloadImages, label=self.classes[0], query="")
        return [first.clone(label=label, query=self.queries.get(label, "")) for label in self.classes]

    def reads(self) -> Mapping[str, Path]:
        return {"curation": Path(self.root, "curation.csv"), "added pictures": Path(self.root, "added")}

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.dataset.split import Division, split
        from greenr_luigi.sources.standing_in import require_all_drawn_or_none

        require_all_drawn_or_none([task.stamp() for task in self.requires()])
        words = self.requires()[0].understood(self.classes)
        if words:
            self.tell(words)
        counts = split(
            {task.label: task.output_folder for task in self.requires()},
            out,
            Division(self.seed, self.test_share, self.valid_share, self.split == "given", self.group),
            curation=Path(self.root, "curation.csv"),
            on_progress=self.on_progress(),
            folder=words or None,
        )
        return {**counts, "folder": words} if words else counts
