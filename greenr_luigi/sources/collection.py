"""Collecting a class: what a source lists is loaded, checked, named by its content, and written with its manifest."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi.contracts import ContractError
from greenr_luigi.files import link
from greenr_luigi.pictures.examine import once
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_jsonl, write_jsonl
from greenr_luigi.pictures.terms import LEAST_SIDE
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import checking, fetched, opened_store, opt_outs, store
from greenr_luigi.sources.arrived import Arrived
from greenr_luigi.sources.asking import Asking
from greenr_luigi.sources.checking import WINDOW
from greenr_luigi.sources.listed import Collection, by_engine, counted
from greenr_luigi.sources.loading import Loader
from greenr_luigi.sources.refused import SoFar
from greenr_luigi.sources.source import PASSING, Request, Source, SourceError
from greenr_luigi.sources.store import Store
from greenr_luigi.staleness.shown import printable

#: Fewer pictures than this teach nothing; fewer are taken only where fewer are asked for.
MINIMUM = 10


@dataclass(frozen=True)
class Before:
    """What there was of the same request before. `output`: its refusals stand, where not all sources have been asked
    with success, and what its hosts keep from models is not asked for, unless `anew`. `only`: names of those of a list
    of sources that are asked, if not all. `forced`: what a run that was killed was refused is asked for again."""

    output: Path | None = None
    only: Sequence[str] = ()
    anew: bool = False
    forced: bool = False


FIRST = Before()


def collect(
    source: Source,
    request: Request,
    out: Path,
    earlier: Mapping[Path, str],
    on_progress: OnProgress,
    before: Before = FIRST,
    shards: Sequence[Path] = (),
) -> dict[str, object]:
    """Fill the empty folder `out` with `pictures/`, `manifest.jsonl` and `rejected.jsonl`; returns counts for people.

    Asks the source, or those of a list in turn, until `request.limit` good pictures are listed (0: the source's own
    default). Unless it is local, what comes goes into the store of the class under `request.root`, of which `out` is a
    view, and what is there is not loaded again. `earlier`: see `opened_store.opened`.
    `shards`: of a source that can be divided, the folders that were filled with what was found of all that it lists.

    A search engine that fails is told in the counts: `warning`, for people, and the names to `retry`. So is what one
    `understood` of the query.

    Raises SourceError if fewer than MINIMUM pictures are there in the end, those of before among them.
    """
    source.check(request)
    request = replace(request, limit=request.limit or source.default_limit)
    checked: Mapping[str, PictureRow] = {}
    if shards and source.addresses:
        source, checked = fetched.joined(source, request, shards)
    elif shards:
        source = replace(source, candidates=functools.partial(checking.of_parts, source, shards))
    (out / "pictures").mkdir()

    def on_wait(who: str) -> None:
        on_progress(0, f"{request.label}: waits for another run that collects it: {who}")

    with contextlib.ExitStack() as stack:
        examine = stack.enter_context(once(request.root, functools.partial(on_progress, 0)))
        if source.local:
            pictures = Store(out / "pictures")
        else:
            of_class = opened_store.opened(
                request.root, request.label, earlier, on_wait, request.terms, checked, examine
            )
            pictures = stack.enter_context(of_class)
        had = frozenset(pictures.pictures)
        opted_out = dict[str, Refusal]()
        # Of parts, each has found that out.
        if before.output and request.opt_outs and not (before.anew or shards):
            opted_out = _opted_out(before.output)
        kept = None if source.local or shards else pictures.folder
        so_far, arrived = SoFar(kept, request, before.forced), Arrived(kept, request, before.forced)
        collection = Collection(source, request, pictures, opted_out, so_far, arrived)

        def on_batch() -> None:
            goal = request.limit or len(collection.listed) + WINDOW
            on_progress(min(len(collection.listed) / goal, 0.99), str(collection))

        with Loader(source.local) as loader:
            for part in source.each:
                if collection.missing > 0 and (not before.only or part.name in before.only):
                    Asking(collection, part, loader, examine).run(on_batch)
        if shards and source.addresses:
            fetched.clear(pictures.folder)
        if before.output and (before.only or collection.failed) and not source.is_list:
            collection.refusals += _refused_before(before.output, collection)
        collection.refusals += collection.damaged()
        so_far.end()
        arrived.end()
        _require_enough(collection)
        counts = _write(out, pictures.folder, collection.rows(), collection.refusals, had)
        if collection.failed:
            counts |= {
                "retry": [*collection.failed],
                "warning": f"{collection.faults()}; asked again the next day",
            }
        if collection.understood:
            counts["understood"] = collection.words()
        on_progress(1, "; ".join(filter(None, [str(collection), collection.words(), collection.faults()])))
        return counts


def _opted_out(output: Path) -> dict[str, Refusal]:
    """What an earlier output left since its hosts keep it from models, by address."""
    return {
        refusal.file_url: replace(
            refusal, message=refusal.message[max(refusal.message.find(opt_outs.SAYS), 0) :]
        )
        for refusal in _refusals(output)
        if refusal.reason == "opt-out" and refusal.file_url
    }


def _refusals(output: Path) -> list[Refusal]:
    """Those of an earlier output; none, if that is missing or damaged."""
    try:
        return read_jsonl(output / REJECTED, Refusal)
    except (FileNotFoundError, ContractError):
        return []


def _refused_before(output: Path, collection: Collection) -> list[Refusal]:
    """The refusals of an earlier output but for addresses that have been listed now."""
    now = {
        *(candidate.file_url for candidate in collection.listed.values()),
        *(refusal.file_url for refusal in collection.refusals),
    }
    return [
        refusal
        for refusal in _refusals(output)
        if refusal.file_url not in now and refusal.reason != "damaged"
    ]


def examine_again(
    request: Request, out: Path, earlier: Path, on_progress: OnProgress
) -> dict[str, object] | None:
    """Fill `out` as `collect` does, with the pictures of an earlier collection of the same class, judged and hashed by
    today's code: no source is asked for anything.

    None, and an empty `out`, if a picture or the list of refusals is gone or damaged, or too few are left.
    """
    try:
        old = read_jsonl(earlier / MANIFEST, PictureRow)
        refusals = read_jsonl(earlier / REJECTED, Refusal)
    except (FileNotFoundError, ContractError):
        return None
    with once(request.root, functools.partial(on_progress, 0)) as examine:
        outcomes = store.examine_all(earlier, old, request.terms, examine=examine)
    rows = [outcome for outcome in outcomes if isinstance(outcome, PictureRow)]
    if None in outcomes or len(rows) < _least(request):
        return None
    refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    (out / "pictures").mkdir()
    return _write(out, earlier / "pictures", rows, refusals, {row.sha256 for row in old})


def _write(
    out: Path, pictures: Path, rows: Sequence[PictureRow], refusals: Sequence[Refusal], before: Container[str]
) -> dict[str, object]:
    """Link the pictures of these rows and write the manifests. Returns counts for people; new is what was not there
    `before`, by sha256; sources says which brought how many, where these are several."""
    if pictures != out / "pictures":
        for row in rows:
            link(pictures / Path(row.file).name, out / row.file)
    write_jsonl(out / MANIFEST, rows)
    write_jsonl(out / REJECTED, refusals)
    new = sum(row.sha256 not in before for row in rows)
    engines = by_engine(rows)
    sources = {"sources": engines} if len(engines) > 1 else {}
    return {"pictures": len(rows), "new": new, "refused": len(refusals), **sources}


def _least(request: Request) -> int:
    return min(MINIMUM, request.limit or MINIMUM)


def _require_enough(collection: Collection) -> None:
    """Raises SourceError if there is too little to go on with."""
    source, request, rows = collection.source.name, collection.request, collection.rows()
    if len(rows) >= _least(request):
        return
    reasons = Counter(refusal.reason for refusal in collection.refusals)
    refused = counted(dict(reasons.most_common())) or "none"
    searched = f" (searched for as {request.query!r})" if request.query != request.label else ""
    faults = "".join(f" {words}." for words in (collection.words(), collection.faults()) if words)
    if rows and not collection.listed:
        faults += f" The {len(rows)} earlier pictures are still there."
    if stand_in := collection.source.stand_in:
        faults += f" {stand_in.name} stands in only where no network answers and no class has pictures."
    if len(rows) + reasons["too-small"] >= _least(request) and request.min_side > LEAST_SIDE:
        faults += (
            f" Each side needs {request.min_side} pixels: --min-side {LEAST_SIDE} takes smaller pictures."
        )
    raise SourceError(
        f"the source {source!r} brought {len(collection.listed) or 'no'} pictures of {request.label!r}{searched}; "
        f"{request.limit or 'all'} were asked for and at least {_least(request)} are needed. Refused: {refused}"
        f"{_example(collection)}.{faults} {_remedy(collection.source, request)}",
        passing=collection.broke_off or PASSING.search(" ".join(reasons)) is not None,
    )


def _example(collection: Collection) -> str:
    """One of what a person gave and was refused most, and why, which says what to do. Empty for a search."""
    yours = collection.source.local or collection.source.is_list
    reasons = Counter(refusal.reason for refusal in collection.refusals if refusal.file_url)
    if not (yours and reasons):
        return ""
    reason = reasons.most_common(1)[0][0]
    first = next(each for each in collection.refusals if each.reason == reason and each.file_url)
    named = "" if (first.file_url or "") in first.message else f"{printable(first.file_url)}: "
    return f", such as {named}{printable(first.message)}"


def _remedy(source: Source, request: Request) -> str:
    if source.needs_folder:
        without = f"leave {request.label!r} out by naming the other classes in --classes"
        what = "addresses" if source.is_list else "pictures"
        return f"Add {what} to {request.folder}, or {without}"
    others = request.others({part.name for part in source.each})
    return f"Try another query, another source{others}, or your own pictures in --folder"
