"""When sources are asked again for the pictures of a class, which of them, and what is done where none is."""

from __future__ import annotations

import functools
import glob
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import registry, standing_in
from greenr_luigi.sources.source import Request
from greenr_luigi.staleness.output_folder import KEY
from greenr_luigi.staleness.stamp import Stamp, stamps

#: By which a search is old early: a run at the minute of the day at which it was made finds it so, however long the
#: search took, and where clocks were put forward meanwhile.
GRACE_HOURS = 4
#: After which an engine that failed is asked again: on the next day.
RETRY_HOURS = 24 - GRACE_HOURS
#: What of a stamp's summary holds for as long as no source is asked.
SAID_OF_SEARCH = ("drawn", "retry", "understood", "warning")


@dataclass(frozen=True)
class Recrawl:
    """A request to sources, those of `source` in turn, that is made again and again.

    `parameters`: of the output, as a stamp has them. `output`: its folder; beside it lie those of other classes and
    requests. `default`: what `source` is where nobody says. `now`: when the build began, in seconds since 1970.
    `forced`: everything is asked, whatever there is. `shards`: see `collection.collect`."""

    source: str
    request: Request
    parameters: Mapping[str, str]
    output: Path
    default: str
    refresh_days: int
    now: float
    forced: bool
    shards: Sequence[Path] = ()

    def due(self, stamp: Stamp) -> str | None:
        """Why sources are to be asked again: age, or an engine that failed and is asked again the next day."""
        if registry.find(self.source).local:
            return None
        if standing_in.is_drawn(stamp) and self._has_photographs():
            return "it is drawn, since no network answered, and there are photographs by now"
        failed, hours = stamp.summary.get("retry", []), (self.now - stamp.finished) / 3600
        due = failed and abs(hours) > RETRY_HOURS
        return grown_old(stamp, self.now, self.refresh_days) or (
            f"{' and '.join(failed)} failed {abs(hours):.0f} hours ago" if due else None
        )

    def collect(
        self, out: Path, holds: Callable[[Stamp], bool], on_progress: OnProgress
    ) -> Mapping[str, object]:
        """Fill the empty folder `out`: with what is at hand, with drawings where these stand in, or with what the
        sources list. `holds`: whether the files that an output was made from are as they were. Returns counts for
        people, and what `due` reads of them. Raises SourceError as `collection.collect` does."""
        from greenr_luigi.sources import collection

        source = registry.find(self.source)
        request = replace(self.request, others=functools.partial(registry.others, self.request.license))
        # Of a large class, its parts have asked for nothing, too.
        may_do = not source.local and not self.forced and not self.shards
        if may_do and (at_hand := self._at_hand(holds)):
            folder, stamp = at_hand
            if counts := collection.examine_again(request, out, folder, on_progress):
                said = {name: stamp.summary[name] for name in SAID_OF_SEARCH if name in stamp.summary}
                return {**counts, **said, "searched": searched(stamp)}
        drawn = source.stand_in if source.stand_in and not self._has_photographs() else None
        if drawn and standing_in.nobody_answers(source, request, self._classes(), self.now):
            counts = collection.collect(drawn, request, out, {}, on_progress)
            return {**counts, **standing_in.summary(source, counts["pictures"])}
        before = None if self.forced else Stamp.if_any(self.output)
        old = before and grown_old(before, self.now, self.refresh_days)
        only = before.summary.get("retry", []) if before and not old else []
        counts = collection.collect(
            source,
            request,
            out,
            earlier(self.output.parent, request.label),
            on_progress,
            collection.Before(self.output, only, anew=before is None or bool(old), forced=self.forced),
            self.shards,
        )
        return {**counts, "searched": searched(before)} if before and only else counts

    def _at_hand(self, holds: Callable[[Stamp], bool]) -> tuple[Path, Stamp] | None:
        """An output whose pictures will do, and its stamp, if no source need be asked: where the code or a library has
        changed since, or the default source."""
        stamp = Stamp.if_any(self.output)
        found = {self.output: stamp} if stamp else self._of_former_default()
        return next(
            ((folder, made) for folder, made in found.items() if holds(made) and not self.due(made)), None
        )

    def _of_former_default(self) -> dict[Path, Stamp]:
        """Outputs of what was asked of some of the default sources, before these became the default, the newest
        first."""
        if self.source != self.default:
            return {}
        sources = {*registry.names(self.source)}
        return {
            folder: stamp
            for folder, stamp in stamps(self.output.parent).items()
            if {**stamp.parameters, "source": self.source} == self.parameters
            and sources.issuperset(registry.names(stamp.parameters.get("source", "")))
        }

    def _has_photographs(self) -> bool:
        stand_in = registry.find(self.source).stand_in
        drawing = stand_in.name if stand_in else ""
        return standing_in.has_photographs(self.request.root, self._classes(), drawing)

    def _classes(self) -> list[Stamp]:
        """The stamps of all collections, whatever was asked for."""
        return [*stamps(self.output.parent).values()]


def earlier(collections: Path, label: str) -> Mapping[Path, str]:
    """The outputs for a label of whatever parameters, with the licence that was asked for."""
    found, begins = {}, f"{folder_name(label)}-"
    for folder in collections.glob(f"{glob.escape(begins)}*"):
        if re.fullmatch(KEY, folder.name.removeprefix(begins)):
            stamp = Stamp.if_any(folder)
            found[folder] = stamp.parameters.get("license", "") if stamp else ""
    return found


def grown_old(stamp: Stamp, now: float, refresh_days: int) -> str | None:
    """Counted from when the source was asked: examining its pictures anew makes them no younger."""
    days = (now - searched(stamp)) / 86400
    if days < -1:
        return f"collected {-days:.0f} days from now, says its stamp: a clock was wrong then, or is now"
    if days > max(refresh_days - GRACE_HOURS / 24, 0):
        return f"collected {days:.0f} days ago, refresh_days is {refresh_days}"
    return None


def searched(stamp: Stamp) -> float:
    """When the source was asked, in seconds since 1970: earlier, if its pictures have only been examined anew since."""
    when = stamp.summary.get("searched")
    return float(when) if isinstance(when, int | float) else stamp.finished
