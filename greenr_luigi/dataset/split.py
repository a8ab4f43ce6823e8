"""From collected classes to a data set: curation, duplicates, and a split that stays put as pictures come in.

A picture's side follows from its own perceptual hash and the seed alone, so no other picture can move it.
Near-duplicates that fall on different sides cannot both stay: the older stays (by `fetched`; among those of one age a
digest decides), and the other is listed as excluded. So adding pictures can take an old one out, if it is undated and
turns out to be a near-duplicate, but never moves one from one side to another. The one exception is a class so small
that a side would be empty: it gives that side the picture whose own number comes nearest.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.dataset import cleaning, decisions, rows
from greenr_luigi.dataset.cleaning import NearDuplicates, Picture, Reason, leave_out
from greenr_luigi.dataset.rows import Excluded, LabelRow, SplitRow
from greenr_luigi.errors import GreenrError
from greenr_luigi.files import copy, link
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.pictures.manifest import SIDES, PerceptualHash, PictureRow, write_csv
from greenr_luigi.progress import OnProgress

#: The share of pictures held out for the final measurement, and for choosing between models.
TEST, VALID = 0.15, 0.15
#: Fewer pictures of a class than this cannot be learned from and measured on.
MINIMUM = 5


class TooFewPictures(GreenrError):
    """The pictures do not make a data set; the message names the classes, with counts."""


def split(
    downloads: Mapping[str, Path],
    out: Path,
    *,
    seed: int,
    curation: Path | None,
    on_progress: OnProgress,
    test_share: float = TEST,
    valid_share: float = VALID,
) -> dict[str, int]:
    """Fill the empty folder `out` with `train|valid|test/<label folder>/` and the files of rows.py.

    `downloads`: the collected folder of each label. `curation`: a person's curation.csv, beside which lie the pictures
    that they added. `test_share` and `valid_share` go from 0 to 1.
    Returns counts for people. Raises TooFewPictures if a class is too small.
    """
    on_progress(0, "reading manifests")
    pictures = cleaning.collected_pictures(downloads)
    decided = decisions.Curation()
    if curation is not None:
        decided = decisions.read_curation(curation)
        pictures += cleaning.added_pictures(curation.parent, downloads, pictures)
    excluded: list[Excluded] = []
    pictures = leave_out(pictures, excluded, lambda p: cleaning.decided_against(p, decided, downloads))
    pictures = [cleaning.relabelled(picture, decided) for picture in pictures]
    pictures = leave_out(pictures, excluded, cleaning.same_file(pictures))
    on_progress(0.2, f"looking for near-duplicates among {len(pictures)} pictures")
    near = NearDuplicates(pictures, decided.rejected_hashes)
    pictures = leave_out(pictures, excluded, lambda p: cleaning.copy_of_rejected(p, near, decided))
    pictures = leave_out(pictures, excluded, cleaning.near_another_label(pictures, near))
    sides, on_another_side = _choose_sides(pictures, near, seed, (test_share, valid_share))
    pictures = leave_out(pictures, excluded, lambda p: on_another_side.get(p.row.perceptual_hash))
    _fill_empty_sides(pictures, near, sides, seed)
    _check(downloads, pictures, sides, excluded)
    split_rows = _link_pictures(pictures, sides, out, on_progress)
    write_csv(out / rows.SPLIT, split_rows, SplitRow)
    write_csv(out / rows.LABELS, split_rows, LabelRow)
    write_csv(out / rows.EXCLUDED, excluded, Excluded)
    contracts.write(out / rows.REFUSED, cleaning.refused_files(downloads))
    counts = Counter(row.side for row in split_rows)
    on_progress(1, f"{_by_side(counts)}; {len(excluded)} excluded")
    by_side = {side: counts[side] for side in reversed(SIDES)}
    return {"pictures": len(split_rows), **by_side, "excluded": len(excluded)}


def _by_side(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[side]} {side}" for side in reversed(SIDES))


def own_number(hash: PerceptualHash, seed: int) -> float:
    """A picture's own number, from 0 to below 1, which decides its side."""
    digest = hashlib.blake2b(f"{seed} {hash.dhash}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


def _choose_sides(
    pictures: list[Picture], near: NearDuplicates, seed: int, shares: tuple[float, float]
) -> tuple[dict[PerceptualHash, str], dict[PerceptualHash, Reason]]:
    """The side of each hash that stays, and why the others do not: the older ones come first. `shares`: of test and of
    valid."""
    oldest: dict[PerceptualHash, PictureRow] = {}
    for row in sorted((p.row for p in pictures), key=lambda row: (row.fetched or "", row.sha256)):
        oldest.setdefault(row.perceptual_hash, row)
    sides: dict[PerceptualHash, str] = {}
    reasons: dict[PerceptualHash, Reason] = {}
    for hash in sorted(oldest, key=lambda h: (oldest[h].fetched or "", own_number(h, seed + 1), h)):
        side = SIDES[bisect.bisect((shares[0], sum(shares)), own_number(hash, seed))]
        against = next((h for h in near.of[hash] if h in sides and sides[h] != side), None)
        if against is None:
            sides[hash] = side
        else:
            detail = f"nearly the same as {oldest[against].file}, which is in {sides[against]}"
            reasons[hash] = "near-duplicate", detail
    return sides, reasons


def _fill_empty_sides(
    pictures: list[Picture], near: NearDuplicates, sides: dict[PerceptualHash, str], seed: int
) -> None:
    """Give each class a picture on each side, if it has any to spare whose near-duplicates do not stay behind."""
    classes: dict[str, set[PerceptualHash]] = defaultdict(set)
    for picture in pictures:
        classes[picture.row.label].add(picture.row.perceptual_hash)
    for hashes in classes.values():
        for side in SIDES:
            counts = Counter(sides[hash] for hash in hashes)
            if counts[side]:
                continue
            richest = max(SIDES, key=lambda s: counts[s])
            free = [h for h in hashes if sides[h] == richest and not any(n in sides for n in near.of[h])]
            if counts[richest] > 1 and free:
                chosen = max if side == "train" else min
                sides[chosen(free, key=lambda h: (own_number(h, seed), h))] = side


def _check(
    downloads: Mapping[str, Path],
    pictures: list[Picture],
    sides: dict[PerceptualHash, str],
    excluded: list[Excluded],
) -> None:
    faults = []
    for label in sorted(downloads):
        counts = Counter(sides[p.row.perceptual_hash] for p in pictures if p.row.label == label)
        if counts.total() < MINIMUM or any(not counts[side] for side in SIDES):
            reasons = Counter(row.reason for row in excluded if row.label == label).most_common()
            left_out = f" ({', '.join(f'{n} {reason}' for reason, n in reasons)} are out)" if reasons else ""
            faults.append(f"{label!r} has {counts.total()} usable pictures: {_by_side(counts)}{left_out}")
    if len(downloads) < 2:
        faults.append(f"there are {len(downloads)} classes; a classifier needs at least 2")
    if faults:
        raise TooFewPictures(
            f"{'; '.join(faults)}. Each class needs at least {MINIMUM}, some on each side: collect more with --limit, "
            "or add some by hand"
        )


def _link_pictures(
    pictures: list[Picture], sides: dict[PerceptualHash, str], out: Path, on_progress: OnProgress
) -> list[SplitRow]:
    split_rows = []
    for side in SIDES:
        for label in {picture.row.label for picture in pictures}:
            (out / side / folder_name(label)).mkdir(parents=True, exist_ok=True)
    for done, picture in enumerate(pictures):
        side = sides[picture.row.perceptual_hash]
        file = f"{side}/{folder_name(picture.row.label)}/{picture.row.sha256[:16]}{picture.path.suffix}"
        # An output may be edited, and a person's own picture stays theirs.
        (copy if picture.row.engine == "added" else link)(picture.path, out / file)
        split_rows.append(SplitRow(**vars(picture.row) | {"file": file, "side": side}))
        if done % 1000 == 0:
            on_progress(
                0.5 + 0.5 * done / len(pictures), f"{done} of {len(pictures)} pictures in their folders"
            )
    return split_rows
