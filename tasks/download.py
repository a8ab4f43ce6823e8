"""DownloadImages: pictures of one class."""

import time
from pathlib import Path

import luigi

from greenr_luigi.stage import Stage


class Search:
    """Where pictures come from; the same for every class."""

    source = luigi.Parameter(description="bing, google, baidu, flickr, urls, folder or sample.")
    folder = luigi.OptionalPathParameter(
        absolute=True, description="For the sources folder and urls: where your pictures or lists lie; never modified."
    )
    limit = luigi.IntParameter(description="Pictures a class; 0 for all of a folder, 200 of a search engine.")
    refresh_days = luigi.IntParameter(significant=False, description="Days after which a search is made again.")


class DownloadImages(Search, Stage):
    label = luigi.Parameter(description="The class whose pictures to get.")
    query = luigi.Parameter(default="", description="What to search for; the class's name if empty.")

    code = ("greenr_luigi.sources", "greenr_luigi.collection", "greenr_luigi.manifest", "greenr_luigi.pictures")
    libraries = ("icrawler", "pillow")

    @property
    def title(self):
        return f"DownloadImages({self.label})"

    @property
    def place(self):
        from greenr_luigi.manifest import folder_name

        return super().place.with_name(f"{folder_name(self.label)}-{super().place.name}")

    def reads(self):
        from greenr_luigi.sources import local_inputs

        return local_inputs(self.source, self.folder, self.label)

    def overtaken(self, stamp):
        from greenr_luigi.sources import grows_old

        days = (time.time() - stamp["finished"]) / 86400
        if grows_old(self.source) and days > self.refresh_days:
            return f"crawled {days:.0f} days ago, refresh_days is {self.refresh_days}"
        return None

    def work(self, out: Path):
        from greenr_luigi.collection import collect

        earlier = self.place.resolve() if self.place.exists() else None
        return collect(self.source, self.label, self.query or self.label, self.limit, self.folder, out, earlier,
                       on_progress=self.on_progress())  # fmt: skip
