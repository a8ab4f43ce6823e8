"""Which pictures may be in a data set: a person's decisions, one of each file, nothing that is under two
labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenr_luigi.dataset import decisions
from greenr_luigi.dataset.duplicates import looks, near_pairs, telling
from greenr_luigi.pictures.hashing import Look
from greenr_luigi.pictures.manifest import Excluded, Refusal, Row, read_jsonl
from greenr_luigi.sources.collection import MANIFEST, REJECTED, describe

#: So many refused files of a kind are named.
EXAMPLES = 3


@dataclass(frozen=True)
class Picture:
    row: Row
    path: Path

    @property
    def look(self) -> Look:
        return self.row.dhash, self.row.phash


class Near:
    """Which looks are near which others; `also`: looks of pictures that are not there."""

    def __init__(self, pictures: Iterable[Picture], also: Iterable[Look] = ()) -> None:
        every = sorted({*(picture.look for picture in pictures), *also})
        self.of: dict[Look, list[Look]] = defaultdict(list)
        found = looks(every)
        for i, j in zip(*near_pairs(found, telling(found)), strict=True):
            self.of[every[i]].append(every[j])
            self.of[every[j]].append(every[i])


def collected(downloads: Mapping[str, Path]) -> list[Picture]:
    """All pictures of the labels' collected folders, by label and sha256."""
    return [
        Picture(replace(row, label=label), place / row.file)
        for label, place in sorted(downloads.items())
        for row in read_jsonl(place / MANIFEST, Row)
    ]


def refused(downloads: Mapping[str, Path]) -> list[dict[str, Any]]:
    """What of a person's own files was not taken: `label`, `reason`, how many (`count`), and the first few (`examples`:
    `name` and `message`). Not what an address did not give: that is another each time, and the data set is not."""
    kinds: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for label, place in sorted(downloads.items()):
        for refusal in read_jsonl(place / REJECTED, Refusal) if (place / REJECTED).exists() else []:
            if refusal.file_url and "://" not in refusal.file_url:
                kinds[label, refusal.reason].append(refusal)
    return [
        {
            "label": label,
            "reason": reason,
            "count": len(its),
            "examples": [{"name": one.file_url, "message": _here_or_anywhere(one)} for one in its[:EXAMPLES]],
        }
        for (label, reason), its in sorted(
            kinds.items(), key=lambda kind: (kind[0][0], -len(kind[1]), kind[0])
        )
    ]


def _here_or_anywhere(refusal: Refusal) -> str:
    """The message without the place of the person's folder on this machine."""
    name = refusal.file_url
    if name and f"/{name}" in refusal.message:
        return refusal.message.partition(f"/{name}")[2].strip()
    return refusal.message


def added(root: Path, downloads: Mapping[str, Path], known: Iterable[Picture] = ()) -> list[Picture]:
    """What a person added by hand to these classes, but for what the source `feedback` has taken from there."""
    taken = {(p.row.label, p.row.sha256[:16]) for p in known if p.row.engine == "feedback"}
    paths = [
        (label, path)
        for label in sorted(downloads)
        for path in decisions.added(root, label)
        if (label, path.stem) not in taken
    ]
    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda item: describe(item[1], "added"), paths)
        return [
            Picture(replace(row, label=label), path) for (label, path), row in zip(paths, rows, strict=True)
        ]


def standing(pictures: list[Picture], withdrawn: frozenset[str], excluded: list[Excluded]) -> list[Picture]:
    """All but what a person added and then took back; the same file found elsewhere stays."""
    kept = []
    for picture in pictures:
        if picture.row.sha256 in withdrawn and picture.row.engine in ("added", "feedback"):
            excluded.append(out(picture, "taken-back", "a person added it and took that back"))
        else:
            kept.append(picture)
    return kept


def curated(
    pictures: list[Picture], curation: decisions.Curation, labels: set[str], excluded: list[Excluded]
) -> list[Picture]:
    kept = []
    for picture in pictures:
        label = curation.relabelled.get(picture.row.sha256, picture.row.label)
        if picture.row.sha256 in curation.rejected:
            excluded.append(out(picture, "rejected", "a person rejected it"))
        elif label not in labels:
            excluded.append(
                out(picture, "relabelled", f"a person called it {label!r}, which is no class here")
            )
        else:
            kept.append(replace(picture, row=replace(picture.row, label=label)))
    return kept


def new(
    pictures: list[Picture], near: Near, curation: decisions.Curation, excluded: list[Excluded]
) -> list[Picture]:
    """Pictures that are no copies, saved anew or resized, of one that a person had rejected before they were found.
    What was there already stays, as does what a person spoke of: rejecting one of two takes out one."""
    kept = []
    for picture in pictures:
        looks = (picture.look, *near.of.get(picture.look, ()))
        when = min((curation.looks[look] for look in looks if look in curation.looks), default=None)
        found = picture.row.fetched
        if when is None or found is None or found <= when or picture.row.sha256 in curation.spoken:
            kept.append(picture)
        else:
            excluded.append(
                out(
                    picture,
                    "rejected",
                    "nearly the same as a picture rejected before it was found; relabel it to take it all the same",
                )
            )
    return kept


def unique(pictures: list[Picture], excluded: list[Excluded]) -> list[Picture]:
    """One of each file; a file under two labels is out of both."""
    same: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        same[picture.row.sha256].append(picture)
    kept = []
    for group in same.values():
        labels = sorted({picture.row.label for picture in group})
        if len(labels) > 1:
            excluded += [
                out(picture, "two-labels", f"the same file is in {' and '.join(labels)}") for picture in group
            ]
        else:
            kept.append(group[0])
            excluded += [
                out(picture, "duplicate", f"the same file as {group[0].row.file}") for picture in group[1:]
            ]
    return kept


def unambiguous(pictures: list[Picture], near: Near, excluded: list[Excluded]) -> list[Picture]:
    """Pictures that have no near-duplicate under another label."""
    labels: dict[Look, set[str]] = defaultdict(set)
    for picture in pictures:
        labels[picture.look].add(picture.row.label)
    kept = []
    for picture in pictures:
        alike = labels[picture.look].union(*(labels[other] for other in near.of[picture.look]))
        if len(alike) > 1:
            excluded.append(
                out(picture, "two-labels", f"near-duplicates are in {' and '.join(sorted(alike))}")
            )
        else:
            kept.append(picture)
    return kept


def out(picture: Picture, reason: str, detail: str) -> Excluded:
    return Excluded(picture.row.file, picture.row.label, picture.row.sha256, reason, detail)
