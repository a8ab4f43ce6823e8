"""Which pictures may be in a data set: a person's decisions, one of each file, nothing that is under two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi.dataset import decisions
from greenr_luigi.dataset.decisions import Curation
from greenr_luigi.dataset.duplicates import copy_limit, hash_matrix, near_pairs
from greenr_luigi.dataset.rows import RefusedFile, RefusedKind
from greenr_luigi.pictures.examine import examine_file, once
from greenr_luigi.pictures.manifest import (
    MANIFEST,
    REJECTED,
    PerceptualHash,
    PictureRow,
    Refusal,
    held_out_first,
    read_jsonl,
)

#: So many refused files of a kind are named.
EXAMPLES = 3


@dataclass(frozen=True)
class Picture:
    """A picture that may come into the data set, and where its file lies."""

    row: PictureRow
    path: Path

    def called(self, label: str) -> Picture:
        """It under a label."""
        return self if label == self.row.label else replace(self, row=replace(self.row, label=label))


#: Why a picture is left out, a short constant word and words for a person; None if it may stay.
Reason = tuple[str, str] | None
#: A picture, and both.
LeftOut = tuple[Picture, str, str]


class NearDuplicates:
    """Which perceptual hashes are near which others: of the pictures, and of some that are not there any more."""

    def __init__(self, pictures: Iterable[Picture], others: Iterable[PerceptualHash] = ()) -> None:
        hashes = sorted({*(picture.row.perceptual_hash for picture in pictures), *others})
        self.of: dict[PerceptualHash, list[PerceptualHash]] = defaultdict(list)
        matrix = hash_matrix(hashes)
        for i, j in zip(*near_pairs(matrix, copy_limit(matrix)), strict=True):
            self.of[hashes[i]].append(hashes[j])
            self.of[hashes[j]].append(hashes[i])


def collected_pictures(downloads: Mapping[str, Path]) -> list[Picture]:
    """All pictures of the labels' collected folders, by label and sha256."""
    return [
        Picture(row, folder / row.file).called(label)
        for label, folder in sorted(downloads.items())
        for row in read_jsonl(folder / MANIFEST, PictureRow)
    ]


def refused_files(downloads: Mapping[str, Path]) -> list[RefusedKind]:
    """What of a person's own files was not taken. Not what an address did not give: that is another each time, and the
    data set is not."""
    kinds: dict[tuple[str, str], list[RefusedFile]] = defaultdict(list)
    for label, folder in sorted(downloads.items()):
        for refusal in read_jsonl(folder / REJECTED, Refusal) if (folder / REJECTED).exists() else []:
            if (name := refusal.file_url) and "://" not in name:
                # The message without where the person's folder lies on this machine.
                _, _, message = refusal.message.rpartition(f"/{name}")
                kinds[label, refusal.reason].append(RefusedFile(name, message.strip()))
    found = [RefusedKind(*kind, len(files), files[:EXAMPLES]) for kind, files in kinds.items()]
    return sorted(found, key=lambda kind: (kind.label, -kind.count, kind.reason))


def added_pictures(
    root: Path,
    downloads: Mapping[str, Path],
    collected: Iterable[Picture] = (),
    tell: Callable[[str], object] = lambda words: None,
) -> list[Picture]:
    """What a person added by hand to these classes, but for what the source `feedback` has taken from there. `tell`
    hears what keeps each of them from being decoded but once, ever."""
    taken = {(p.row.label, p.row.sha256[:16]) for p in collected if p.row.engine == "feedback"}
    files = [(label, path) for label in sorted(downloads) for path in decisions.added_files(root, label)]
    with once(root, tell) as examine, ThreadPoolExecutor() as pool:

        def picture(file: tuple[str, Path]) -> Picture:
            label, path = file
            return Picture(examine_file(path, label, "added", examine), path)

        return [*pool.map(picture, (file for file in files if (file[0], file[1].stem) not in taken))]


def leave_out(
    pictures: list[Picture], excluded: list[LeftOut], reason: Callable[[Picture], Reason]
) -> list[Picture]:
    """The pictures that may stay; the others are added to `excluded`."""
    kept = []
    for picture in pictures:
        if found := reason(picture):
            excluded.append((picture, *found))
        else:
            kept.append(picture)
    return kept


def decided_against(picture: Picture, curation: Curation, labels: Iterable[str]) -> Reason:
    """A person took it back, rejected it, or gave it a label that is no class here."""
    row = picture.row
    # The same file found elsewhere stays.
    if row.sha256 in curation.withdrawn and row.engine in ("added", "feedback"):
        return "taken-back", "a person added it and took that back"
    if row.sha256 in curation.rejected:
        return "rejected", "a person rejected it"
    label = curation.relabelled.get(row.sha256, row.label)
    if label not in labels:
        return "relabelled", f"a person called it {label!r}, which is no class here"
    return None


def relabelled(picture: Picture, curation: Curation) -> Picture:
    """The picture under the label that a person gave it, if they did."""
    return picture.called(curation.relabelled.get(picture.row.sha256, picture.row.label))


def copy_of_rejected(picture: Picture, near: NearDuplicates, curation: Curation) -> Reason:
    """It was saved anew or resized from one that a person had rejected before it was found. What was there already
    stays, as does what a person confirmed: rejecting one of two takes out one."""
    row = picture.row
    hashes = (row.perceptual_hash, *near.of.get(row.perceptual_hash, ()))
    rejected = [curation.rejected_hashes[hash] for hash in hashes if hash in curation.rejected_hashes]
    found_since = row.fetched and rejected and row.fetched > min(rejected)
    if not found_since or row.sha256 in curation.confirmed:
        return None
    words = "nearly the same as a picture rejected before it was found; relabel it to take it all the same"
    return "rejected", words


def same_file(pictures: Iterable[Picture]) -> Callable[[Picture], Reason]:
    """Rules out all but one of each file, which is one that is held out if any is given so, and all of a file under two
    labels."""
    same: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        same[picture.row.sha256].append(picture)

    def reason(picture: Picture) -> Reason:
        alike = same[picture.row.sha256]
        first = min(alike, key=lambda one: held_out_first(one.row.given_side))
        labels = {one.row.label for one in alike}
        if len(labels) > 1:
            return "two-labels", f"the same file is in {' and '.join(sorted(labels))}"
        return None if picture is first else ("duplicate", f"the same file as {first.row.file}")

    return reason


def near_another_label(pictures: Iterable[Picture], near: NearDuplicates) -> Callable[[Picture], Reason]:
    """Rules out pictures that have a near-duplicate under another label."""
    labels: dict[PerceptualHash, set[str]] = defaultdict(set)
    for picture in pictures:
        labels[picture.row.perceptual_hash].add(picture.row.label)

    def reason(picture: Picture) -> Reason:
        own = picture.row.perceptual_hash
        alike = labels[own].union(*(labels[other] for other in near.of[own]))
        words = f"near-duplicates are in {' and '.join(sorted(alike))}"
        return ("two-labels", words) if len(alike) > 1 else None

    return reason
