"""DownloadImages: pictures of one class; of a large one, those of each PictureShard."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import luigi

from greenr_luigi.parameters import NumberParameter
from greenr_luigi.sources import defaults, dividing, registry
from greenr_luigi.sources.recrawl import Recrawl
from greenr_luigi.sources.source import Request
from greenr_luigi.staleness.examination import reads_changed
from greenr_luigi.staleness.listing import Part, Said
from greenr_luigi.staleness.stamp import Stamp
from tasks.shard import OfOneClass, PictureShard, SourceParameters


class DownloadImages(SourceParameters, OfOneClass):
    role = "pictures"
    unsaid = ("searched", "retry")

    shard_size = NumberParameter(
        int,
        1,
        significant=False,
        description="Pictures of your own, or addresses in a list, that a class may have before it is made in parts.",
    )
    query = luigi.Parameter(default="", description="What to search for; the class's name if empty.")

    @property
    def code(self) -> tuple[str, ...]:
        """Another source's code does not make this one's pictures stale."""
        return ("greenr_luigi.sources.collection", *registry.find(self.source).modules)

    @property
    def title(self) -> str:
        return f"DownloadImages({self.label})"

    @property
    def parameters(self) -> dict[str, str]:
        """The same request by other words has the same output."""
        parameters = super().parameters
        if self.query == self.label:
            parameters["query"] = ""
        return parameters

    def requires(self) -> list[PictureShard]:
        if self.shards == 1:
            return []
        forced = self.task_family in self.force
        force = (*self.force, PictureShard.task_family) if forced else self.force
        # Of a folder, all is checked, whatever the limit.
        limit = self.limit if registry.find(self.source).addresses else 0
        more = {"of": self.shards, "limit": limit, "force": force, "collection": str(self.output_folder)}
        return [self.clone(PictureShard, number=number, **more) for number in range(self.shards)]

    @functools.cached_property
    def shards(self) -> int:
        """In how many parts the class is checked. Told once: Luigi asks often, and relies on one answer."""
        source, most = registry.find(self.source), self.shard_size
        if source.addresses:
            return dividing.parts(dividing.addresses(source, self.request, most), 0, most)
        files = sum(files.count() for files in self.all_of_source().values())
        return dividing.parts(files, self.limit, most)

    @property
    def request(self) -> Request:
        return replace(super().request, query=self.query or self.label, license=self.license or None)

    def reads(self) -> Mapping[str, Path | Part | Said]:
        source = registry.find(self.source)
        # Of a list, the order and the lines count, too, which its parts pass over.
        if self.shards > 1 and not source.addresses:
            return source.said(self.request)
        return source.all_reads(self.request)

    def outside_cause(self, stamp: Stamp) -> str | None:
        """Age, or an engine that failed and is asked again the next day. Of a list in parts, each of these has its own
        age."""
        return None if self.shards > 1 else self._recrawl().due(stamp)

    def work(self, out: Path) -> Mapping[str, object]:
        def holds(made: Stamp) -> bool:
            return reads_changed(self, made.reads) is None

        return self._recrawl().collect(out, holds, self.on_progress())

    def understood(self, labels: Sequence[str]) -> str:
        """What was understood of the folder, in words, where these labels are asked for; empty without one."""
        describe = registry.find(self.source).describe
        return describe(self.request, labels) if describe else ""

    def _recrawl(self) -> Recrawl:
        return Recrawl(
            self.source,
            self.request,
            self.parameters,
            self.output_folder,
            default=defaults.SOURCE,
            refresh_days=self.refresh_days,
            now=self.build_began,
            forced=self.task_family in self.force,
            shards=[task.output_folder for task in self.requires()],
        )
