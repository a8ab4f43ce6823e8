"""What a person has said of a picture, as a short text: nothing, thrown out, taken back, kept, or "=" and a label."""

from __future__ import annotations

from greenr_luigi.dataset.decisions import Curation

SAID_NOTHING, OUT, TAKEN_BACK, KEPT = "", "x", "w", "k"


def state_of(sha256: str, curation: Curation) -> str:
    if sha256 in curation.rejected:
        return OUT
    if sha256 in curation.withdrawn:
        return TAKEN_BACK
    if sha256 in curation.relabelled:
        return f"={curation.relabelled[sha256]}"
    return KEPT if sha256 in curation.kept else SAID_NOTHING
