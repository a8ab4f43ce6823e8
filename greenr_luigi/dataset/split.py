"""From collected classes to a data set: curation, duplicates, and a split that stays put as pictures come in.

A picture's side is a function of its own look and the seed alone, so no other picture can move it.
Near-duplicates that fall on different sides cannot both stay: the older stays (by `fetched`; among those of
one age a digest decides), and the other is listed as excluded. So adding pictures can take an old one out, if
it is undated and turns out to be a near-duplicate, but never moves one from one side to another. The one
exception is a class so small that a side would be empty: it gives that side the picture whose own number
comes nearest.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from greenr_luigi.dataset import cleaning, decisions
from greenr_luigi.dataset.cleaning import Near, Picture
from greenr_luigi.pictures.hashing import Look
from greenr_luigi.pictures.manifest import Excluded, SplitRow, folder_name, write_csv
from greenr_luigi.sources.collection import link

SIDES = ("test", "valid", "train")
#: The share of pictures held out for the final measurement, and for choosing between models.
TEST, VALID = 0.15, 0.15
#: Fewer pictures of a class than this cannot be learned from and measured on.
MINIMUM = 5


class DataError(RuntimeError):
    """The pictures do not make a data set; the message names the classes, with counts, and what to do."""


def split(
    downloads: Mapping[str, Path], out: Path, *, seed: int, curation: Path | None,
    on_progress: Callable[[float, str], None],
    test_share: float = TEST, valid_share: float = VALID,
) -> dict[str, int]:  # fmt: skip
    """Fill the empty folder `out` with `train|valid|test/<label folder>/`, `manifest.csv`, `excluded.csv` and
    `refused.json` (cleaning.refused).

    `downloads`: the collected folder of each label. `curation`: a person's curation.csv; the pictures that
    they added lie beside it. `test_share` and `valid_share` go from 0 to 1.
    Returns counts for people. Raises DataError if a class is too small.
    """
    on_progress(0, "reading manifests")
    pictures = cleaning.collected(downloads)
    excluded: list[Excluded] = []
    if curation is not None:
        pictures += cleaning.added(curation.parent, downloads, pictures)
        pictures = cleaning.standing(pictures, decisions.withdrawn(curation), excluded)
    decided = decisions.read(curation) if curation else decisions.Curation()
    pictures = cleaning.curated(pictures, decided, set(downloads), excluded)
    pictures = cleaning.unique(pictures, excluded)
    on_progress(0.2, f"looking for near-duplicates among {len(pictures)} pictures")
    near = Near(pictures, decided.looks)
    pictures = cleaning.new(pictures, near, decided, excluded)
    pictures = cleaning.unambiguous(pictures, near, excluded)
    sides = _sides(pictures, near, seed, test_share, valid_share, excluded)
    pictures = [picture for picture in pictures if picture.look in sides]
    _fill_empty_sides(pictures, near, sides, seed)
    _check(downloads, pictures, sides, excluded)
    rows = _write(pictures, sides, out, on_progress)
    write_csv(out / "manifest.csv", rows, SplitRow)
    write_csv(out / "excluded.csv", excluded, Excluded)
    refused = json.dumps(cleaning.refused(downloads), indent=1, ensure_ascii=False)
    (out / "refused.json").write_text(refused + "\n", encoding="utf-8")
    counts = Counter(row.side for row in rows)
    on_progress(
        1, ", ".join(f"{counts[side]} {side}" for side in reversed(SIDES)) + f"; {len(excluded)} excluded"
    )
    return {
        "pictures": len(rows),
        **{side: counts[side] for side in reversed(SIDES)},
        "excluded": len(excluded),
    }


def number(look: Look, seed: int) -> float:
    """A picture's own number, from 0 to below 1: below `test` is test, the next `valid` are valid, the rest
    train."""
    digest = hashlib.blake2b(f"{seed} {look[0]}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


def _sides(
    pictures: list[Picture], near: Near, seed: int, test: float, valid: float,
    excluded: list[Excluded],
) -> dict[Look, str]:  # fmt: skip
    """The side of each hash that stays, the older ones first."""
    by_look: dict[Look, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda p: (p.row.fetched or "", p.row.sha256)):
        by_look[picture.look].append(picture)
    sides: dict[Look, str] = {}
    for look in sorted(by_look, key=lambda h: (by_look[h][0].row.fetched or "", number(h, seed + 1), h)):
        side = SIDES[bisect.bisect((test, test + valid), number(look, seed))]
        against = next((h for h in near.of[look] if h in sides and sides[h] != side), None)
        if against is None:
            sides[look] = side
            continue
        detail = f"nearly the same as {by_look[against][0].row.file}, which is in {sides[against]}"
        excluded += [cleaning.out(picture, "near-duplicate", detail) for picture in by_look[look]]
    return sides


def _fill_empty_sides(pictures: list[Picture], near: Near, sides: dict[Look, str], seed: int) -> None:
    """Give each class a picture on each side, if it has any to spare whose near-duplicates do not stay
    behind."""
    classes: dict[str, dict[Look, int]] = defaultdict(Counter)
    for picture in pictures:
        classes[picture.row.label][picture.look] += 1
    for its in classes.values():
        for side in SIDES:
            have = Counter(sides[look] for look in its)
            if have[side]:
                continue
            richest = max(SIDES, key=lambda s: have[s])
            free = [h for h in its if sides[h] == richest and not any(other in sides for other in near.of[h])]
            if have[richest] > 1 and free:
                chosen = max if side == "train" else min
                sides[chosen(free, key=lambda h: number(h, seed))] = side


def _check(
    downloads: Mapping[str, Path],
    pictures: list[Picture],
    sides: dict[Look, str],
    excluded: list[Excluded],
) -> None:
    faults = []
    for label in sorted(downloads):
        have = Counter(sides[picture.look] for picture in pictures if picture.row.label == label)
        if have.total() < MINIMUM or any(not have[side] for side in SIDES):
            reasons = Counter(row.reason for row in excluded if row.label == label)
            out = (
                f" ({', '.join(f'{n} {reason}' for reason, n in reasons.most_common())} are out)"
                if reasons
                else ""
            )
            counts = ", ".join(f"{have[side]} {side}" for side in reversed(SIDES))
            faults.append(f"{label!r} has {have.total()} usable pictures: {counts}{out}")
    if len(downloads) < 2:
        faults.append(f"there are {len(downloads)} classes; a classifier needs at least 2")
    if faults:
        raise DataError(
            "; ".join(faults)
            + f". Each class needs at least {MINIMUM}, some on each side: collect more with --limit, "
            "or add some by hand"
        )


def _write(
    pictures: list[Picture], sides: dict[Look, str], out: Path, on_progress: Callable[[float, str], None]
) -> list[SplitRow]:
    rows = []
    for side in SIDES:
        for label in {picture.row.label for picture in pictures}:
            (out / side / folder_name(label)).mkdir(parents=True, exist_ok=True)
    for done, picture in enumerate(pictures):
        side = sides[picture.look]
        file = f"{side}/{folder_name(picture.row.label)}/{picture.row.sha256[:16]}{picture.path.suffix}"
        link(picture.path, out / file)
        rows.append(SplitRow(**vars(picture.row) | {"file": file, "side": side}))
        if done % 1000 == 0:
            on_progress(
                0.5 + 0.5 * done / len(pictures), f"{done} of {len(pictures)} pictures in their places"
            )
    return rows
