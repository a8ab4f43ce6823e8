"""Whether drawings may stand in for photographs: where no search engine answers, and no class has photographs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from concurrent import futures
from pathlib import Path

from greenr_luigi.sources import collected
from greenr_luigi.sources.source import Interrupted, NothingFound, Request, Source, SourceError
from greenr_luigi.staleness.stamp import Stamp

#: For the engines to answer. A name that nobody looks up, or an address where nobody is, would take half a minute each.
SECONDS = 4.0
#: What the stamp of a drawn class warns of.
WARNING = (
    "DRAWN, not photographed: no network answered. It is a toy, to see the pipeline move; where there is a network, "
    "run it again with --force DownloadImages. A run of the next day asks by itself"
)


def summary(source: Source, pictures: object) -> dict[str, object]:
    """What a drawn class has in its stamp's summary."""
    return {"drawn": pictures, "retry": [part.name for part in source.each], "warning": WARNING}


def is_drawn(stamp: Stamp) -> bool:
    return "drawn" in stamp.summary


def has_photographs(root: Path, classes: Iterable[Stamp], drawing: str) -> bool:
    """Whether any class has other pictures than drawn ones. `classes`: the stamps of all collections; `drawing`: the
    source that draws."""
    return bool(collected.folders(root)) or any(
        not is_drawn(stamp) and stamp.parameters.get("source") != drawing for stamp in classes
    )


def nobody_answers(source: Source, request: Request, classes: Iterable[Stamp], began: float) -> bool:
    """Whether none of a list's engines lists anything, or says that it has nothing. All are asked at once; none, where
    another class has been drawn since the build `began`, in seconds since 1970: all are drawn, or none."""
    from greenr_luigi import background

    if any(is_drawn(stamp) and stamp.finished >= began for stamp in classes):
        return True
    asked = [background.in_thread(_answers, part, request) for part in source.each]
    with contextlib.suppress(TimeoutError):
        return not any(future.result() for future in futures.as_completed(asked, SECONDS))
    return True


def _answers(part: Source, request: Request) -> bool:
    try:
        return next(part.candidates(request), None) is not None
    except NothingFound:
        return True
    except (Interrupted, SourceError):
        return False


def require_all_drawn_or_none(classes: Sequence[Stamp]) -> None:
    """Raises SourceError where the network came or went between two classes: a model would tell drawings from
    photographs."""
    drawn = [stamp.title for stamp in classes if is_drawn(stamp)]
    if 0 < len(drawn) < len(classes):
        raise SourceError(
            f"drawn, since no network answered: {', '.join(drawn)}; the other classes are not: run it again",
            passing=True,
        )
