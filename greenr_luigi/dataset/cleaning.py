"""Which pictures may be in a data set: a person's decisions, one of each file, nothing that is under two labels.

Each step takes pictures, gives those that stay, and adds the others to `excluded`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi.dataset import decisions
from greenr_luigi.dataset.decisions import Curation
from greenr_luigi.dataset.duplicates import copy_limit, hash_matrix, near_pairs
from greenr_luigi.dataset.rows import Excluded, RefusedFile, RefusedKind
from greenr_luigi.pictures.examine import examine_file
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PerceptualHash, PictureRow, Refusal, read_jsonl

#: So many refused files of a kind are named.
EXAMPLES = 3


@dataclass(frozen=True)
class Picture:
    row: PictureRow
    path: Path

    def exclude(self, reason: str, detail: str) -> Excluded:
        return Excluded(self.row.file, self.row.label, self.row.sha256, reason, detail)


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
        Picture(replace(row, label=label), folder / row.file)
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
    return [
        RefusedKind(label, reason, len(files), files[:EXAMPLES])
        for (label, reason), files in sorted(
            kinds.items(), key=lambda kind: (kind[0][0], -len(kind[1]), kind[0])
        )
    ]


def added_pictures(
    root: Path, downloads: Mapping[str, Path], collected: Iterable[Picture] = ()
) -> list[Picture]:
    """What a person added by hand to these classes, but for what the source `feedback` has taken from there."""
    taken = {(p.row.label, p.row.sha256[:16]) for p in collected if p.row.engine == "feedback"}
    files = [
        (path, label)
        for label in sorted(downloads)
        for path in decisions.added_files(root, label)
        if (label, path.stem) not in taken
    ]
    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda file: examine_file(file[0], file[1], "added"), files)
        return [Picture(row, path) for (path, _), row in zip(files, rows, strict=True)]


def leave_out_withdrawn(
    pictures: list[Picture], withdrawn: frozenset[str], excluded: list[Excluded]
) -> list[Picture]:
    """What a person added and then took back; the same file found elsewhere stays."""
    kept = []
    for picture in pictures:
        if picture.row.sha256 in withdrawn and picture.row.engine in ("added", "feedback"):
            excluded.append(picture.exclude("taken-back", "a person added it and took that back"))
        else:
            kept.append(picture)
    return kept


def apply_curation(
    pictures: list[Picture], curation: Curation, labels: set[str], excluded: list[Excluded]
) -> list[Picture]:
    """What a person rejected is out; what they relabelled has its new label."""
    kept = []
    for picture in pictures:
        label = curation.relabelled.get(picture.row.sha256, picture.row.label)
        if picture.row.sha256 in curation.rejected:
            excluded.append(picture.exclude("rejected", "a person rejected it"))
        elif label not in labels:
            detail = f"a person called it {label!r}, which is no class here"
            excluded.append(picture.exclude("relabelled", detail))
        else:
            kept.append(replace(picture, row=replace(picture.row, label=label)))
    return kept


def leave_out_copies_of_rejected(
    pictures: list[Picture], near: NearDuplicates, curation: Curation, excluded: list[Excluded]
) -> list[Picture]:
    """Copies, saved anew or resized, of a picture that a person had rejected before they were found. What was there
    already stays, as does what a person spoke of: rejecting one of two takes out one."""
    kept = []
    for picture in pictures:
        own = picture.row.perceptual_hash
        hashes = [hash for hash in (own, *near.of.get(own, ())) if hash in curation.rejected_hashes]
        rejected = min((curation.rejected_hashes[hash] for hash in hashes), default=None)
        fetched = picture.row.fetched
        if (
            rejected is None
            or fetched is None
            or fetched <= rejected
            or picture.row.sha256 in curation.spoken
        ):
            kept.append(picture)
        else:
            detail = "nearly the same as a picture rejected before it was found; relabel it to take it all the same"
            excluded.append(picture.exclude("rejected", detail))
    return kept


def leave_out_doubles(pictures: list[Picture], excluded: list[Excluded]) -> list[Picture]:
    """All but one of each file; a file under two labels is out of both."""
    same: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        same[picture.row.sha256].append(picture)
    kept = []
    for first, *others in same.values():
        labels = sorted({picture.row.label for picture in (first, *others)})
        if len(labels) > 1:
            detail = f"the same file is in {' and '.join(labels)}"
            excluded += [picture.exclude("two-labels", detail) for picture in (first, *others)]
        else:
            kept.append(first)
            detail = f"the same file as {first.row.file}"
            excluded += [picture.exclude("duplicate", detail) for picture in others]
    return kept


def leave_out_ambiguous(
    pictures: list[Picture], near: NearDuplicates, excluded: list[Excluded]
) -> list[Picture]:
    """Pictures that have a near-duplicate under another label."""
    labels: dict[PerceptualHash, set[str]] = defaultdict(set)
    for picture in pictures:
        labels[picture.row.perceptual_hash].add(picture.row.label)
    kept = []
    for picture in pictures:
        own = picture.row.perceptual_hash
        alike = labels[own].union(*(labels[other] for other in near.of[own]))
        if len(alike) > 1:
            detail = f"near-duplicates are in {' and '.join(sorted(alike))}"
            excluded.append(picture.exclude("two-labels", detail))
        else:
            kept.append(picture)
    return kept
