"""SplitDataset: the classes' pictures, cleaned, curated and divided into training, validation and test."""

from pathlib import Path

import luigi

from greenr_luigi.settings import ClassesParameter
from greenr_luigi.stage import Stage
from tasks.download import DownloadImages, Search


class SplitDataset(Search, Stage):
    classes = ClassesParameter(description="Class names, with commas (dandelion,grass) or as a JSON list.")
    queries = luigi.DictParameter(
        description='What to search for where it is not the name: {"grass": "lawn grass"}.'
    )
    seed = luigi.IntParameter(description="Another seed gives another split and another model.")
    valid_share = luigi.FloatParameter(description="Share of the pictures that choose the model.")
    test_share = luigi.FloatParameter(description="Share of the pictures that judge the model.")

    code = ("greenr_luigi.dataset",)

    def requires(self):
        return [
            self.clone(DownloadImages, label=label, query=self.queries.get(label, ""))
            for label in self.classes
        ]

    def reads(self):
        return {"curation": Path(self.root, "curation.csv"), "added pictures": Path(self.root, "added")}

    def work(self, out: Path):
        from greenr_luigi.dataset import split

        return split({task.label: task.place for task in self.requires()}, out, seed=self.seed,
                     curation=Path(self.root, "curation.csv"), valid_share=self.valid_share, test_share=self.test_share,
                     on_progress=self.on_progress())  # fmt: skip
