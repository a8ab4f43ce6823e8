"""Asking the engines for freely licensed pictures only, each in its own words."""

from __future__ import annotations

from greenr_luigi.sources.candidates import SourceError

#: What a person may ask for: what the pictures may be used for.
KINDS = ("noncommercial", "commercial", "noncommercial,modify", "commercial,modify", "publicdomain")
#: https://www.flickr.com/services/api/flickr.photos.licenses.getInfo.html
FLICKR = {
    "0": "All Rights Reserved", "1": "CC BY-NC-SA 2.0", "2": "CC BY-NC 2.0",
    "3": "CC BY-NC-ND 2.0", "4": "CC BY 2.0", "5": "CC BY-SA 2.0",
    "6": "CC BY-ND 2.0", "7": "No known copyright restrictions", "8": "United States government work",
    "9": "CC0 1.0", "10": "Public Domain Mark 1.0", "11": "CC BY 4.0",
    "12": "CC BY-SA 4.0", "13": "CC BY-ND 4.0", "14": "CC BY-NC 4.0",
    "15": "CC BY-NC-SA 4.0", "16": "CC BY-NC-ND 4.0",
}  # fmt: skip


def check(kind: str | None) -> str | None:
    """The kind, if it is one of KINDS or None. Raises SourceError otherwise."""
    if kind is not None and kind not in KINDS:
        raise SourceError(f"the licence {kind!r} is not known: expected one of {' '.join(KINDS)}")
    return kind


def bing(kind: str | None) -> dict[str, str] | None:
    """icrawler's filters for Bing."""
    check(kind)
    return {"license": kind} if kind else None


def google(kind: str | None) -> dict[str, str] | None:
    """icrawler's filters for Google. Raises SourceError for a kind that Google has no filter for."""
    if check(kind) == "publicdomain":
        none("google", kind)
    return {"license": kind} if kind else None


def flickr(kind: str | None) -> str:
    """Flickr's licence numbers, by their names in FLICKR."""
    check(kind)
    if not kind:
        return ""
    free = {"7", "8", "9", "10"}
    if kind == "publicdomain":
        return ",".join(sorted(free, key=int))
    names = {number: name for number, name in FLICKR.items() if number != "0"}
    if kind.startswith("commercial"):
        names = {number: name for number, name in names.items() if "NC" not in name}
    if kind.endswith("modify"):
        names = {number: name for number, name in names.items() if "ND" not in name}
    return ",".join(names)


def flickr_name(number: str) -> str:
    """The name of a licence by Flickr's number; empty if unknown."""
    return FLICKR.get(number, "")


def none(source: str, kind: str | None) -> None:
    """Raises SourceError if a licence is asked of a source that cannot filter by it."""
    if check(kind):
        raise SourceError(
            f"the source {source!r} cannot filter for licence {kind!r}: use flickr or bing, or none"
        )
