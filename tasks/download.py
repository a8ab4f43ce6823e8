"""DownloadImages: pictures of one class."""

from pathlib import Path

import luigi

from greenr_luigi.pictures.manifest import folder_name, label_folder
from greenr_luigi.settings import NumberParameter, OptionalFolderParameter
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.stage import STARTED


class Search:
    """Where pictures come from; the same for every class."""

    source = luigi.Parameter(
        description="Where to look: bing, flickr, openverse, commons, urls, folder, sample, ..."
    )
    folder = OptionalFolderParameter(
        description="For the sources folder and urls: where your pictures or lists lie; never modified.",
    )
    limit = NumberParameter(
        int, 0, description="Pictures a class; 0 for all of a folder, 200 of a search engine."
    )
    license = luigi.Parameter(
        description="Only pictures of this licence, where the source can tell: any of its names, or empty for all."
    )
    refresh_days = NumberParameter(
        int, 0, significant=False, description="Days after which a search is made again."
    )


class DownloadImages(Search, PipelineStage):
    role = "pictures"

    label = luigi.Parameter(description="The class whose pictures to get.")
    query = luigi.Parameter(default="", description="What to search for; the class's name if empty.")

    code = (
        "greenr_luigi.sources.collection",
        "greenr_luigi.sources.registry",
    )
    libraries = ("icrawler", "pillow")

    @property
    def title(self):
        return f"DownloadImages({self.label})"

    @property
    def output_folder(self):
        return super().output_folder.with_name(f"{folder_name(self.label)}-{super().output_folder.name}")

    def reads(self):
        if self.source == "urls" and self.folder:
            return {"the list of addresses": self.folder}
        if self.source == "folder" and self.folder:
            found = label_folder(self.folder, self.label)
            return {f"folder {self.label}": found or self.folder / self.label}
        if self.source == "feedback":
            return {f"kept as {self.label}": Path(self.root, "added", folder_name(self.label))}
        return {}

    def outside_cause(self, stamp):
        days = (STARTED - stamp["finished"]) / 86400
        if self.source not in ("folder", "feedback", "sample") and days > self.refresh_days:
            return f"collected {days:.0f} days ago, refresh_days is {self.refresh_days}"
        return None

    def work(self, out: Path):
        from greenr_luigi.sources import registry
        from greenr_luigi.sources.collection import collect

        limit = self.limit or (200 if registry.find(self.source).endless else 0)
        earlier = self.output_folder.resolve() if self.output_folder.exists() else None
        folder = Path(self.root, "added") if self.source == "feedback" else self.folder
        # What a person removed is left out by SplitDataset: a rejection need not search again.
        return collect(self.source, self.label, self.query or self.label, limit, folder, out, earlier, seed=0,
                       rejected=(), license=self.license or None, on_progress=self.on_progress())  # fmt: skip
