"""From collected classes to a data set: curation, duplicates, groups, and the sides of the split (sides.py)."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.dataset import cleaning, decisions, rows
from greenr_luigi.dataset.cleaning import LeftOut, NearDuplicates, Picture, leave_out
from greenr_luigi.dataset.groups import grouped, inseparable
from greenr_luigi.dataset.rows import Excluded, LabelRow, SplitNote, SplitRow
from greenr_luigi.dataset.sides import Rule, choose, fill_empty, unit_of
from greenr_luigi.errors import GreenrError
from greenr_luigi.files import copy, link
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.pictures.manifest import SIDES, PerceptualHash, write_csv
from greenr_luigi.progress import OnProgress

#: The share of pictures held out for the final measurement, and for choosing between models.
TEST, VALID = 0.15, 0.15
#: Fewer pictures of a class than this cannot be learned from and measured on.
MINIMUM = 5


class TooFewPictures(GreenrError):
    """The pictures do not make a data set; the message names the classes, with counts."""


@dataclass(frozen=True)
class Division:
    """How pictures are divided. `test_share` and `valid_share` go from 0 to 1. `keep_given`: whether the sides that a
    person's folder or list gives are kept. `group`: see `groups.grouped`."""

    seed: int
    test_share: float = TEST
    valid_share: float = VALID
    keep_given: bool = True
    group: str = ""


def split(
    downloads: Mapping[str, Path],
    out: Path,
    division: Division,
    *,
    curation: Path | None,
    on_progress: OnProgress,
    folder: str | None = None,
) -> dict[str, object]:
    """Fill the empty folder `out` with `train|valid|test/<label folder>/` and the files of rows.py.

    `downloads`: the collected folder of each label. `curation`: a person's curation.csv, beside which lie the pictures
    that they added. `folder`: what was understood of a person's folder, in words for people.
    Returns counts for people. Raises TooFewPictures if a class is too small, GroupError as `grouped` does.
    """
    on_progress(0, "reading manifests")
    pictures = grouped(cleaning.collected_pictures(downloads), division.group)
    if not division.keep_given:
        pictures = [replace(one, row=replace(one.row, given_side=None)) for one in pictures]
    # By the folders, so that no decision about a picture changes what is held out of the others.
    given: dict[str, set[str | None]] = {label: set() for label in downloads}
    for picture in pictures:
        given[picture.row.label].add(picture.row.given_side)
    decided = decisions.Curation()
    if curation is not None:
        decided = decisions.read_curation(curation)
        tell = functools.partial(on_progress, 0)
        pictures += cleaning.added_pictures(curation.parent, downloads, pictures, tell)
    excluded: list[LeftOut] = []
    pictures = leave_out(pictures, excluded, lambda p: cleaning.decided_against(p, decided, downloads))
    pictures = [cleaning.relabelled(picture, decided) for picture in pictures]
    pictures = leave_out(pictures, excluded, cleaning.same_file(pictures))
    on_progress(0.2, f"looking for near-duplicates among {len(pictures)} pictures")
    near = NearDuplicates(pictures, decided.rejected_hashes)
    pictures = leave_out(pictures, excluded, lambda p: cleaning.copy_of_rejected(p, near, decided))
    pictures = leave_out(pictures, excluded, cleaning.near_another_label(pictures, near))
    side_of, cannot_stay = choose(
        pictures, near, Rule(division.seed, division.test_share, division.valid_share, given)
    )
    pictures = leave_out(pictures, excluded, lambda p: cannot_stay.get(p.row.sha256))
    fill_empty(pictures, near, side_of, division.seed)
    by_hash: dict[PerceptualHash, list[str]] = defaultdict(list)
    for picture in (*pictures, *(out for out, _, _ in excluded)):
        by_hash[picture.row.perceptual_hash].append(picture.row.sha256[:16])
    split_rows = [_row(picture, side_of[unit_of(picture.row)], near, by_hash) for picture in pictures]
    _check(downloads, split_rows, excluded)
    _link(pictures, split_rows, out, on_progress)
    note = _note(split_rows, folder)
    groups = inseparable(split_rows, near)
    label_rows = [
        LabelRow(row.file, row.label, row.sha256, row.side, group)
        for row, group in zip(split_rows, groups, strict=True)
    ]
    left_out = [
        Excluded(one.row.file, one.row.label, one.row.sha256, reason, detail, one.row.group)
        for one, reason, detail in excluded
    ]
    write_csv(out / rows.SPLIT, split_rows, SplitRow)
    write_csv(out / rows.LABELS, label_rows, LabelRow)
    write_csv(out / rows.EXCLUDED, left_out, Excluded)
    contracts.write(out / rows.REFUSED, cleaning.refused_files(downloads))
    contracts.write(out / rows.NOTE, note)
    counts = Counter(row.side for row in split_rows)
    on_progress(1, f"{_by_side(counts)}; {len(excluded)} excluded")
    told = {"given": sum(note.given.values()), "groups": note.groups}
    return {
        "pictures": len(split_rows),
        **{side: counts[side] for side in reversed(SIDES)},
        "excluded": len(excluded),
        **{name: count for name, count in told.items() if count},
    }


def _by_side(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[side]} {side}" for side in reversed(SIDES))


def _row(
    picture: Picture, side: str, near: NearDuplicates, by_hash: Mapping[PerceptualHash, Sequence[str]]
) -> SplitRow:
    """`by_hash`: the sha16 of all pictures by hash."""
    row, alike = picture.row, set[str]()
    if side == "test":
        hashes = row.perceptual_hash, *near.of.get(row.perceptual_hash, ())
        alike = {sha16 for hash in hashes for sha16 in by_hash.get(hash, ())} - {row.sha256[:16]}
    file = f"{side}/{folder_name(row.label)}/{row.sha256[:16]}{picture.path.suffix}"
    return SplitRow(**row.values() | {"file": file, "side": side, "near": " ".join(sorted(alike)) or None})


def _note(split_rows: Sequence[SplitRow], folder: str | None) -> SplitNote:
    sizes = Counter(row.group for row in split_rows if row.group)
    return SplitNote(
        given=dict(Counter(row.side for row in split_rows if row.given_side == row.side)),
        held_out=dict(Counter(row.side for row in split_rows if row.given_side not in (None, row.side))),
        ours=dict(Counter(row.side for row in split_rows if row.given_side is None)),
        groups=len(sizes),
        grouped=sizes.total(),
        folder=folder,
    )


def _check(
    downloads: Mapping[str, Path], split_rows: Sequence[SplitRow], left_out: Sequence[LeftOut]
) -> None:
    """Raises TooFewPictures."""
    faults, by_label = list[str](), defaultdict[str, list[SplitRow]](list)
    for row in split_rows:
        by_label[row.label].append(row)
    for label in sorted(downloads):
        of_label = by_label[label]
        counts = Counter(row.side for row in of_label)
        if counts.total() < MINIMUM or not counts["test"] or counts.total() == counts["test"]:
            reasons = Counter(
                reason for picture, reason, _ in left_out if picture.row.label == label
            ).most_common()
            out = f" ({', '.join(f'{n} {reason}' for reason, n in reasons)} are out)" if reasons else ""
            groups = len({row.group for row in of_label if row.group})
            in_groups = f" in {groups} group{'s' * (groups > 1)}" if groups else ""
            faults.append(
                f"{label!r} has {counts.total()} usable pictures{in_groups}: {_by_side(counts)}{out}"
            )
    if len(downloads) < 2:
        faults.append(f"there are {len(downloads)} classes; a classifier needs at least 2")
    if faults:
        given = any(row.given_side for row in split_rows)
        grouped = any(row.group for row in split_rows)
        raise TooFewPictures(
            f"{'; '.join(faults)}. Each class needs at least {MINIMUM}, some to learn from and some to test "
            "with: collect more (with --limit, or in --folder), add some by hand, or leave the class out"
            + grouped * "; a group stands on one side, so a class needs two of them, or pictures in none"
            + given * "; `--split ours` divides anew what was given for a side"
        )


def _link(
    pictures: Sequence[Picture], split_rows: Sequence[SplitRow], out: Path, on_progress: OnProgress
) -> None:
    for side in SIDES:
        for label in {row.label for row in split_rows}:
            (out / side / folder_name(label)).mkdir(parents=True, exist_ok=True)
    for done, (picture, row) in enumerate(zip(pictures, split_rows, strict=True)):
        # An output may be edited, and a person's own picture stays theirs.
        (copy if row.engine == "added" else link)(picture.path, out / row.file)
        if done % 1000 == 0:
            on_progress(
                0.5 + 0.5 * done / len(pictures), f"{done} of {len(pictures)} pictures in their folders"
            )
