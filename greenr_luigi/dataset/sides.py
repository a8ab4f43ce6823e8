"""On which side of a split a picture stands.

A picture's side follows from its own perceptual hash and the seed alone, and that of a group from the group's name and
the seed, so no other picture can move it. Near-duplicates that fall on different sides cannot both stay: the older
stays (by `fetched`; among those of one age a digest decides), and the other is listed as excluded. So adding pictures
can take an old one out, if it is undated and turns out to be a near-duplicate, but never moves one from one side to
another. The one exception is a class so small that a side would be empty: it gives that side the picture or group whose
own number comes nearest.

A side that a person's folder or list gives comes first. A test picture stays one, a validation picture too; what is
given for training is learned from, but for a share that is held out by the rule above where the class is given no such
side. Of a group that is given for several sides what is held out stays, and so does what is given against what is not
and looks nearly the same.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenr_luigi.dataset.cleaning import NearDuplicates, Picture, Reason
from greenr_luigi.pictures.manifest import SIDES, PerceptualHash, PictureRow, held_out_first

#: What stands on one side whatever else there is: all pictures of a hash, or of a group, by its name.
Unit = PerceptualHash | str


def unit_of(row: PictureRow) -> Unit:
    return row.group or row.perceptual_hash


def own_number(unit: Unit, seed: int) -> float:
    """The number of a picture or group, from 0 to below 1, which decides its side."""
    text = f"group {unit}" if isinstance(unit, str) else unit.dhash
    digest = hashlib.blake2b(f"{seed} {text}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


@dataclass(frozen=True)
class Rule:
    """`test_share` and `valid_share` go from 0 to 1. `given`: by class, the sides that are given to any of its
    pictures."""

    seed: int
    test_share: float
    valid_share: float
    given: Mapping[str, Collection[str | None]]

    def side(self, rows: Sequence[PictureRow]) -> str:
        """`rows`: a picture, or all of a group."""
        edges = self.test_share, self.test_share + self.valid_share
        ours = SIDES[bisect.bisect(edges, own_number(unit_of(rows[0]), self.seed))]
        given = _given(rows)
        if given == "train" and any(row.given_side and ours in self.given[row.label] for row in rows):
            return "train"
        return ours if given in (None, "train") else given


def _given(rows: Iterable[PictureRow]) -> str | None:
    """The side that is given, of several the one that is held out."""
    return min((row.given_side for row in rows), key=held_out_first)


def choose(
    pictures: Iterable[Picture], near: NearDuplicates, rule: Rule
) -> tuple[dict[Unit, str], dict[str, Reason]]:
    """The side of each unit, and why other pictures, by their sha256, cannot stay: what is given stays before what is
    not, and the older before the younger."""
    together: dict[str, list[PictureRow]] = defaultdict(list)
    for picture in pictures:
        row = picture.row
        together[f"group {row.group}" if row.group else row.sha256].append(row)
    side_of: dict[str, str] = {}
    reasons: dict[str, Reason] = {}
    for rows in together.values():
        given, side = _given(rows), rule.side(rows)
        for row in rows:
            side_of[row.sha256] = side
            if row.given_side not in (None, given):
                detail = f"its group {row.group!r} is in {given}, too, as it was given"
                reasons[row.sha256] = "group", detail

    def order(row: PictureRow) -> tuple[object, ...]:
        hash = row.perceptual_hash
        age = row.fetched or "", own_number(hash, rule.seed + 1), hash, row.sha256
        return held_out_first(row.given_side), *age

    sides: dict[Unit, str] = {}
    #: By hash, the first picture that stays on each side.
    placed: dict[PerceptualHash, dict[str, PictureRow]] = defaultdict(dict)
    staying = (row for rows in together.values() for row in rows if row.sha256 not in reasons)
    for row in sorted(staying, key=order):
        side, hash = side_of[row.sha256], row.perceptual_hash
        alike = (other for h in (hash, *near.of.get(hash, ())) for other in placed.get(h, {}).items())
        against = next(((there, other) for there, other in alike if there != side), None)
        if against is None:
            sides[unit_of(row)] = side
            placed[hash].setdefault(side, row)
        else:
            detail = f"nearly the same as {against[1].file}, which is in {against[0]}"
            reasons[row.sha256] = "near-duplicate", detail
    return sides, reasons


def fill_empty(pictures: Iterable[Picture], near: NearDuplicates, sides: dict[Unit, str], seed: int) -> None:
    """Give each class a picture or group on each side, if it has any to spare that is not given for the side where it
    is, and whose near-duplicates and other classes do not stay behind."""
    classes: dict[str, set[Unit]] = defaultdict(set)
    rows: dict[Unit, list[PictureRow]] = defaultdict(list)
    of_hash: dict[PerceptualHash, set[Unit]] = defaultdict(set)
    for picture in pictures:
        unit = unit_of(picture.row)
        classes[picture.row.label].add(unit)
        rows[unit].append(picture.row)
        of_hash[picture.row.perceptual_hash].add(unit)

    def is_free(unit: Unit) -> bool:
        hashes = {row.perceptual_hash for row in rows[unit]}
        alike = {*hashes}.union(*(near.of.get(hash, ()) for hash in hashes))
        return (
            _given(rows[unit]) in (None, "train")
            and all(of_hash.get(hash, {unit}) == {unit} for hash in alike)
            and all(
                any(other != unit and sides[other] == sides[unit] for other in classes[label])
                for label in {row.label for row in rows[unit]}
            )
        )

    for units in classes.values():
        for side in SIDES:
            counts = Counter(sides[unit] for unit in units)
            free = [] if counts[side] else [unit for unit in units if is_free(unit)]
            if free:
                richest = max(SIDES, key=lambda s: counts[s] if any(sides[u] == s for u in free) else 0)
                chosen = max if side == "train" else min
                spare = [unit for unit in free if sides[unit] == richest]
                sides[chosen(spare, key=lambda unit: (own_number(unit, seed), str(unit)))] = side
