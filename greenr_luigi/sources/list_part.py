"""When a part of a long list of addresses is asked for again, and what of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import collected, dividing, recrawl
from greenr_luigi.sources.source import Request, Source
from greenr_luigi.staleness.stamp import Stamp


@dataclass(frozen=True)
class ListPart:
    """One of `of` parts of what a list says for a request.

    `output`: its folder; `collection`: that of the class, which is made from all parts. `now`: when the build began, in
    seconds since 1970. `forced`: what was refused is asked for again, whatever there is."""

    source: Source
    request: Request
    number: int
    of: int
    output: Path
    collection: Path
    refresh_days: int
    now: float
    forced: bool

    def due(self, stamp: Stamp) -> str | None:
        """Why its addresses are to be looked at again: these changed, or refusals that may have passed."""
        if stamp.summary.get("addresses") != _digest(self._addresses()):
            return "its part of the list changed"
        if words := recrawl.grown_old(stamp, self.now, self.refresh_days):
            return words
        hours = (self.now - stamp.finished) / 3600
        if (later := stamp.summary.get("later")) and abs(hours) > recrawl.RETRY_HOURS:
            return f"addresses left {abs(hours):.0f} hours ago, since hosts were busy or away: {later}"
        # Not in the build that made it: its class comes after it.
        if (passing := stamp.summary.get("passing")) and hours > 0:
            made = Stamp.if_any(self.collection)
            recorded = made and made.inputs.get(stamp.title)
            if not (recorded and stamp.was_input(recorded)):
                return f"the class has not been collected since addresses did not answer: {passing}"
        return None

    def check(self, out: Path, on_progress: OnProgress) -> Mapping[str, object]:
        """Fill the empty folder `out`. What is known is not fetched, and where only code has changed, nothing is; what
        its hosts keep from models is not asked for before it has grown old. Returns counts for people, and what `due`
        reads of them."""
        from greenr_luigi.sources import fetched, opened_store

        root, label = self.request.root, self.request.label
        if not (collected.folder(root, label) / collected.ORIGINS).exists():
            earlier = recrawl.earlier(self.collection.parent, label)
            opened_store.take_in(root, label, earlier, lambda who: on_progress(0, f"{label}: waits: {who}"))
        addresses = self._addresses()
        before = None if self.forced else Stamp.if_any(self.output)
        if before and recrawl.grown_old(before, self.now, self.refresh_days):
            before = None
        refused = fetched.refusals(self.output) if before else {}
        if before and self.due(before):
            kept = "opt-out" if self.request.opt_outs else ""
            refused = {url: refusal for url, refusal in refused.items() if refusal.reason == kept}
        counts = fetched.check(self.source, self.request, addresses, refused, out, on_progress)
        digest = _digest(addresses)
        same = before and before.summary.get("addresses") == digest
        searched = {"searched": recrawl.searched(before)} if before and same else {}
        return {**counts, **searched, "addresses": digest}

    def _addresses(self) -> Sequence[str]:
        return dividing.part(self.source, self.request, self.number, self.of)


def _digest(addresses: Sequence[str]) -> str:
    """In whatever order they are."""
    lines = "".join(f"{address}\n" for address in sorted(addresses))
    return hashlib.sha256(lines.encode(errors="surrogatepass")).hexdigest()
