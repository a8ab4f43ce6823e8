"""Which of all pictures are shown, and in which order; how many each choice would show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from greenr_luigi.dataset.decisions import Curation
from greenr_luigi.review.catalogue import Listing, Picture
from greenr_luigi.review.states import KEPT, OUT, SAID_NOTHING, TAKEN_BACK, state_of

#: Why a picture is worth a look.
DOUBTFUL, OTHERWISE, STRANGE, NEWEST = "doubtful", "otherwise", "strange", "newest"
#: What was decided: anything, nothing, a new label, the label that it has; empty for all but what is out.
ANY, OPEN, OTHER, AS_IS, REJECTED = "any", "open", "relabelled", "kept", "rejected"

#: By facet, what is fixed to choose from, with words; the first is what an address without it means.
FIXED: Mapping[str, Mapping[str, str]] = {
    "class": {"": "all classes"},
    "why": {
        "": "all",
        DOUBTFUL: "doubtful label",
        OTHERWISE: "judged otherwise",
        STRANGE: "strange to the model",
        NEWEST: "of the newest day",
    },
    "side": {"": "all", "train": "train", "valid": "validation", "test": "test"},
    "source": {"": "all"},
    "said": {
        "": "not thrown out",
        OPEN: "nothing yet",
        AS_IS: "kept",
        OTHER: "relabelled",
        REJECTED: "thrown out",
        ANY: "anything",
    },
}
TITLES = {
    "class": "Class",
    "why": "Worth a look",
    "side": "Side",
    "source": "Source",
    "said": "Decided",
    "sort": "Order",
}
SORTS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "doubt": "most doubtful first",
    "strange": "strangest first",
    "small": "smallest first",
    "class": "by class",
}
#: What a person chose to look at for a reason begins with the worst.
USUAL = {DOUBTFUL: "doubt", OTHERWISE: "doubt", STRANGE: "strange"}


@dataclass(frozen=True)
class Filter:
    """A choice a facet; empty is the first of FIXED. `sort`: of SORTS; empty is `usual`."""

    chosen: Mapping[str, str]
    sort: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """By the query of an address. What it does not know of, it leaves out."""
        sort = query.get("sort", "")
        return cls({facet: query.get(facet, "") for facet in FIXED}, sort if sort in SORTS else "")

    @property
    def usual(self) -> str:
        return USUAL.get(self.chosen["why"], "newest")

    @property
    def sorts(self) -> dict[str, str]:
        """What can be chosen as an order, with words."""
        return {"": f"{SORTS[self.usual]} (usual)", **SORTS}


@dataclass(frozen=True)
class Shown:
    """The pictures of a filter in order, and by facet what can be chosen: the value, words for it, and how many
    pictures it would show."""

    pictures: Sequence[Picture]
    options: Mapping[str, Sequence[tuple[str, str, int]]]


def choose(listing: Listing, curation: Curation, wanted: Filter) -> Shown:
    newest = max((picture.came[:10] for picture in listing.pictures.values()), default="")
    matching, counts = [], {facet: Counter[str]() for facet in FIXED}
    every = {facet: {wanted.chosen[facet]} for facet in FIXED}
    for picture in listing.pictures.values():
        values = _values(picture, curation, listing.least, newest)
        for facet, shown in values.items():
            every[facet].update(shown)
        missed = [facet for facet in FIXED if wanted.chosen[facet] not in values[facet]]
        if not missed:
            matching.append(picture)
        # What another choice of a facet would show depends on the other facets alone.
        for facet in missed if len(missed) == 1 else () if missed else FIXED:
            counts[facet].update(values[facet])
    matching.sort(key=lambda picture: picture.id)
    _sort(matching, curation, wanted)
    return Shown(matching, {facet: _options(facet, every[facet], counts[facet]) for facet in FIXED})


def _values(picture: Picture, curation: Curation, least: float, newest: str) -> dict[str, Collection[str]]:
    """The choices of each facet that show this picture."""
    opinion, label = picture.opinion, picture.label(curation)
    state = state_of(picture.row.sha256, curation)
    # What was decided once is not asked again.
    asked = state == SAID_NOTHING
    worth = {
        DOUBTFUL: asked and opinion.suggested is not None,
        OTHERWISE: asked and opinion.predicted not in (None, label),
        STRANGE: asked and opinion.familiarity is not None and opinion.familiarity < least,
        NEWEST: picture.came[:10] == newest,
    }
    said = {
        "": state not in (OUT, TAKEN_BACK),
        OPEN: state == SAID_NOTHING,
        AS_IS: state == KEPT,
        OTHER: state.startswith("="),
        REJECTED: state in (OUT, TAKEN_BACK),
        ANY: True,
    }
    return {
        "class": ("", label),
        "why": ["", *(name for name, holds in worth.items() if holds)],
        "side": ("", picture.side or "none"),
        "source": ("", picture.row.engine),
        "said": [name for name, holds in said.items() if holds],
    }


def _sort(pictures: list[Picture], curation: Curation, wanted: Filter) -> None:
    """In place; what is alike stays in its order."""
    sort, nothing = wanted.sort or wanted.usual, float("inf")
    if sort in ("newest", "oldest"):
        pictures.sort(key=lambda picture: picture.came, reverse=sort == "newest")
    elif sort == "small":
        pictures.sort(key=lambda picture: picture.row.width * picture.row.height)
    elif sort == "class":
        pictures.sort(key=lambda picture: picture.label(curation))
    else:
        name = "probability" if sort == "doubt" else "familiarity"
        values = {picture.id: getattr(picture.opinion, name) for picture in pictures}
        pictures.sort(key=lambda picture: nothing if values[picture.id] is None else values[picture.id])


def _options(facet: str, every: Collection[str], counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """What is fixed is always there, and so is what is chosen."""
    words = {**FIXED[facet], **{value: value for value in sorted({*every} - FIXED[facet].keys())}}
    if facet == "side":
        words |= {value: f"left out: {value}" for value in words.keys() - FIXED[facet].keys()}
        if "none" in words:
            words["none"] = "in no data set yet"
    return [(value, text, counts[value]) for value, text in words.items()]
