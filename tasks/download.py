"""DownloadImages: pictures of one class."""

import re
from collections.abc import Mapping
from pathlib import Path

import luigi

from greenr_luigi.parameters import (
    NetworksParameter,
    NumberParameter,
    OptionalFolderParameter,
    SourceParameter,
)
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources import registry
from greenr_luigi.sources.source import Request
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.examination import reads_changed
from greenr_luigi.staleness.output_folder import KEY
from greenr_luigi.staleness.stamp import Stamp
from greenr_luigi.text import networks


class SourceParameters:
    """Where pictures come from; the same for every class."""

    source = SourceParameter(
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
    allow_networks = NetworksParameter(
        default="",
        significant=False,
        description="Networks of your own that pictures may be fetched from; others that are not public are refused.",
    )


class DownloadImages(SourceParameters, PipelineStage):
    role = "pictures"

    label = luigi.Parameter(description="The class whose pictures to get.")
    query = luigi.Parameter(default="", description="What to search for; the class's name if empty.")

    @property
    def code(self) -> tuple[str, ...]:
        """Another source's code does not make this one's pictures stale."""
        return ("greenr_luigi.sources.collection", registry.find(self.source).module)

    @property
    def title(self) -> str:
        return f"DownloadImages({self.label})"

    @property
    def output_folder(self) -> Path:
        return super().output_folder.with_name(f"{folder_name(self.label)}-{super().output_folder.name}")

    @property
    def parameters(self) -> dict[str, str]:
        """The same request by other words has the same output."""
        parameters = super().parameters
        if self.limit == registry.find(self.source).default_limit:
            parameters["limit"] = "0"
        if self.query == self.label:
            parameters["query"] = ""
        return parameters

    def reads(self) -> Mapping[str, Path]:
        return registry.find(self.source).reads(self.label, self.folder, Path(self.root))

    def outside_cause(self, stamp: Stamp) -> str | None:
        """Age, counted from when the source was asked: examining its pictures anew makes them no younger."""
        days = (self.build_began - searched(stamp)) / 86400
        if registry.find(self.source).local:
            return None
        if days < -1:
            return f"collected {-days:.0f} days from now, says its stamp: a clock was wrong then, or is now"
        if days > self.refresh_days:
            return f"collected {days:.0f} days ago, refresh_days is {self.refresh_days}"
        return None

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.sources.collection import collect, examine_again

        query, license = self.query or self.label, self.license or None
        allow = networks(self.allow_networks)
        request = Request(self.label, query, self.limit, self.folder, Path(self.root), license, allow)
        source = registry.find(self.source)
        when = None if source.local else self._searched_for_the_same()
        if when and (counts := examine_again(request, out, self.output_folder)):
            return {**counts, "searched": when}
        return collect(source, request, out, self._collected_before(), self.on_progress())

    def _collected_before(self) -> Mapping[Path, str]:
        """The outputs for this label of whatever parameters, with the licence that was asked for."""
        found = {}
        for folder in self.output_folder.parent.glob("*"):
            if re.fullmatch(f"{re.escape(folder_name(self.label))}-{KEY}", folder.name):
                stamp = Stamp.if_any(folder)
                found[folder] = stamp.parameters.get("license", "") if stamp else ""
        return found

    def _searched_for_the_same(self) -> float | None:
        """When the source was asked for what lies here, if it need not be asked again: where the code or a library has
        changed since, the pictures at hand will do."""
        stamp = Stamp.if_any(self.output_folder)
        if stamp is None or self.task_family in self.force:
            return None
        asks_anew = reads_changed(self, stamp.reads) or self.outside_cause(stamp)
        return None if asks_anew else searched(stamp)


def searched(stamp: Stamp) -> float:
    """When the source was asked, in seconds since 1970: earlier, if its pictures have only been examined anew since."""
    return float(stamp.summary.get("searched", stamp.finished))
