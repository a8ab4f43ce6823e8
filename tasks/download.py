"""DownloadImages: pictures of one class."""

import re
from collections.abc import Mapping
from pathlib import Path

import luigi

from greenr_luigi import config_check
from greenr_luigi.about import DEFAULTS
from greenr_luigi.parameters import (
    LicenseParameter,
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
from greenr_luigi.staleness.stamp import Stamp, stamps
from greenr_luigi.text import networks

#: After which an engine that failed is asked again: on the next day, at whatever minute a daily run gets to it.
RETRY_HOURS = 20
#: What of a stamp's summary holds for as long as no source is asked.
SAID_OF_SEARCH = ("drawn", "retry", "warning")


class SourceParameters:
    """Where pictures come from; the same for every class."""

    source = SourceParameter(
        description="Where to look: openverse,commons,bing in turn, or flickr, urls, folder, sample, ..."
    )
    folder = OptionalFolderParameter(
        description="For the sources folder and urls: where your pictures or lists lie; never modified.",
    )
    limit = NumberParameter(
        int, 0, description="Pictures a class; 0 for all of a folder, 200 of a search engine."
    )
    license = LicenseParameter(
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
    unsaid = ("searched", "retry")

    label = luigi.Parameter(description="The class whose pictures to get.")
    query = luigi.Parameter(default="", description="What to search for; the class's name if empty.")

    @property
    def code(self) -> tuple[str, ...]:
        """Another source's code does not make this one's pictures stale."""
        return ("greenr_luigi.sources.collection", *registry.find(self.source).modules)

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
        if self.query == self.label:
            parameters["query"] = ""
        return parameters

    def reads(self) -> Mapping[str, Path]:
        return registry.find(self.source).reads(self.label, self.folder, Path(self.root))

    def outside_cause(self, stamp: Stamp) -> str | None:
        """Age, or an engine that failed and is asked again the next day."""
        if registry.find(self.source).local:
            return None
        if "drawn" in stamp.summary and self._has_photographs():
            return "it is drawn, since no network answered, and there are photographs by now"
        failed, hours = stamp.summary.get("retry", []), (self.build_began - stamp.finished) / 3600
        due = failed and abs(hours) > RETRY_HOURS
        return self._grown_old(stamp) or (
            f"{' and '.join(failed)} failed {abs(hours):.0f} hours ago" if due else None
        )

    def _grown_old(self, stamp: Stamp) -> str | None:
        """Counted from when the source was asked: examining its pictures anew makes them no younger."""
        days = (self.build_began - searched(stamp)) / 86400
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
        if not source.local and (at_hand := self._at_hand()):
            folder, stamp = at_hand
            if counts := examine_again(request, out, folder):
                said = {name: stamp.summary[name] for name in SAID_OF_SEARCH if name in stamp.summary}
                return {**counts, **said, "searched": searched(stamp)}
        if source.stand_in and not self._has_photographs():
            from greenr_luigi.sources import standing_in

            if standing_in.nobody_answers(source, request, self._classes(), self.build_began):
                counts = collect(source.stand_in, request, out, {}, self.on_progress())
                return {**counts, **standing_in.said(source, counts["pictures"])}
        before = None if self.task_family in self.force else Stamp.if_any(self.output_folder)
        only = before.summary.get("retry", []) if before and not self._grown_old(before) else []
        more = {"searched": searched(before)} if before and only else {}
        counts = collect(
            source,
            request,
            out,
            self._collected_before(),
            self.on_progress(),
            replaces=self.output_folder,
            only=only,
        )
        return {**counts, **more}

    def _has_photographs(self) -> bool:
        from greenr_luigi.sources.standing_in import has_photographs

        return has_photographs(Path(self.root), self._classes())

    def _collected_before(self) -> Mapping[Path, str]:
        """The outputs for this label of whatever parameters, with the licence that was asked for."""
        found = {}
        for folder in self.output_folder.parent.glob("*"):
            if re.fullmatch(f"{re.escape(folder_name(self.label))}-{KEY}", folder.name):
                stamp = Stamp.if_any(folder)
                found[folder] = stamp.parameters.get("license", "") if stamp else ""
        return found

    def _at_hand(self) -> tuple[Path, Stamp] | None:
        """An output whose pictures will do, and its stamp, if no source need be asked: where the code or a library has
        changed since, or the default source."""
        if self.task_family in self.force:
            return None
        stamp = Stamp.if_any(self.output_folder)
        found = {self.output_folder: stamp} if stamp else self._of_former_default()
        for folder, made in found.items():
            if not (reads_changed(self, made.reads) or self.outside_cause(made)):
                return folder, made
        return None

    def _of_former_default(self) -> dict[Path, Stamp]:
        """Outputs of what was asked of some of the default sources, before these became the default, the newest
        first."""
        if self.source != config_check.read(DEFAULTS).get("DownloadImages", "source"):
            return {}
        sources = {*registry.names(self.source)}
        return {
            folder: stamp
            for folder, stamp in stamps(self.output_folder.parent).items()
            if {**stamp.parameters, "source": self.source} == self.parameters
            and sources.issuperset(registry.names(stamp.parameters.get("source", "")))
        }

    def _classes(self) -> list[Stamp]:
        """The stamps of all collections, whatever was asked for."""
        return [*stamps(self.output_folder.parent).values()]


def searched(stamp: Stamp) -> float:
    """When the source was asked, in seconds since 1970: earlier, if its pictures have only been examined anew since."""
    when = stamp.summary.get("searched")
    return float(when) if isinstance(when, int | float) else stamp.finished
