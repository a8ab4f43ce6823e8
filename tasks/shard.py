"""PictureShard: a part of the pictures of a large class. And what it has in common with DownloadImages, which stands on
it: where pictures come from."""

import functools
from collections.abc import Mapping
from pathlib import Path

import luigi
from luigi.parameter import ParameterVisibility

from greenr_luigi.parameters import (
    ContactParameter,
    LabelPatternParameter,
    LicenseParameter,
    NetworksParameter,
    NumberParameter,
    OptionalFolderParameter,
    SourceParameter,
)
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.pictures.terms import LEAST_SIDE
from greenr_luigi.sources import registry
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.list_part import ListPart
from greenr_luigi.sources.source import Request
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.listing import Part
from greenr_luigi.staleness.stamp import Stamp
from greenr_luigi.text import networks, part_title


class SourceParameters:
    """Where pictures come from; the same for every class."""

    source = SourceParameter(
        description="Where to look: flickr, urls, folder, sample, ..., or engines in turn; empty: your --folder, or "
        "without one openverse,commons,bing."
    )
    folder = OptionalFolderParameter(
        description="For the sources folder and urls: where your pictures or lists lie; never modified.",
    )
    label_pattern = LabelPatternParameter(
        description="Of a folder whose names carry the label: a regular expression that finds it, by its group `label`."
    )
    limit = NumberParameter(
        int, 0, description="Pictures a class; 0 for all of a folder, 200 of a search engine."
    )
    min_side = NumberParameter(
        int, LEAST_SIDE, description="Pixels that each side of a picture must have; smaller ones are refused."
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
    per_host = NumberParameter(
        float,
        0,
        128,
        significant=False,
        description="Requests to one host in a second at most; 0 for no bound.",
    )
    contact = ContactParameter(
        default="",
        significant=False,
        description="Where you are to be reached, a page or an address of mail: told to every host that is asked.",
    )
    opt_outs = NumberParameter(
        int,
        0,
        1,
        significant=False,
        description="1 leaves pictures that their hosts keep from models; 0 takes them, where the hosts are yours.",
    )


class OfOneClass(PipelineStage):
    """What DownloadImages and PictureShard have in common: the request for one class."""

    source = SourceParameters.source
    folder = SourceParameters.folder
    label_pattern = SourceParameters.label_pattern
    min_side = SourceParameters.min_side
    allow_networks = SourceParameters.allow_networks
    per_host = SourceParameters.per_host
    contact = SourceParameters.contact
    opt_outs = SourceParameters.opt_outs
    #: Each has its own.
    limit: int
    label = luigi.Parameter(description="The class whose pictures to get.")

    @property
    def request(self) -> Request:
        return Request(
            self.label,
            self.label,
            self.limit,
            self.folder,
            Path(self.root),
            allow=networks(self.allow_networks),
            min_side=self.min_side,
            per_host=self.per_host,
            contact=self.contact,
            opt_outs=bool(self.opt_outs),
            label_pattern=self.label_pattern,
        )

    def all_of_source(self) -> Mapping[str, FileSet]:
        """The files of the class, where its source takes these whole."""
        source = registry.find(self.source)
        return source.files(self.request) if source.files else {}

    @functools.cached_property
    def output_folder(self) -> Path:
        return super().output_folder.with_name(f"{folder_name(self.label)}-{super().output_folder.name}")


class PictureShard(OfOneClass):
    """A part of the pictures of a large class of a person's own, checked, and fetched if they stand in a list: below
    DownloadImages, on whatever worker."""

    role = "shard"
    unsaid = ("addresses", "later", "passing", "searched")

    number = NumberParameter(int, 0, default=0, description="Which part of them, from 0.")
    of = NumberParameter(int, 1, default=1, description="How many parts there are.")
    limit = NumberParameter(
        int, 0, default=0, description="How many of a list's addresses are divided; 0: all."
    )
    refresh_days = SourceParameters.refresh_days
    collection = luigi.Parameter(
        default="",
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        description="The folder of the class that is collected from the parts.",
    )

    @property
    def code(self) -> tuple[str, ...]:
        source = registry.find(self.source)
        checks = "greenr_luigi.sources.fetched" if source.addresses else "greenr_luigi.sources.checking"
        return (checks, *source.modules)

    @property
    def title(self) -> str:
        return part_title(self.label, self.number, self.of)

    def reads(self) -> Mapping[str, Path | Part]:
        return {name: files.read(self.number, self.of) for name, files in self.all_of_source().items()}

    def outside_cause(self, stamp: Stamp) -> str | None:
        """Of a list: other addresses, age, or such as did not answer."""
        return self._list_part().due(stamp) if registry.find(self.source).addresses else None

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.sources.checking import check

        source = registry.find(self.source)
        if source.addresses:
            return self._list_part().check(out, self.on_progress())
        return check(source, self.request, self.number, self.of, out, self.on_progress())

    def _list_part(self) -> ListPart:
        return ListPart(
            registry.find(self.source),
            self.request,
            self.number,
            self.of,
            self.output_folder,
            Path(self.collection),
            self.refresh_days,
            now=self.build_began,
            forced=self.task_family in self.force,
        )
