"""Pictures that belong together, such as burst shots and frames of one video: a group stands on one side of a split,
and in one fold of a cross-validation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from greenr_luigi.dataset.cleaning import NearDuplicates, Picture
from greenr_luigi.dataset.sides import unit_of
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.manifest import PictureRow
from greenr_luigi.text import composed


class GroupError(GreenrError):
    """A pattern makes no groups, or only one; the message gives it, and what was expected."""


def grouped(pictures: Sequence[Picture], pattern: str) -> list[Picture]:
    """The pictures, each with the group that it is in.

    `pattern`: a regular expression, searched for in a picture's path below the folder, or its address: the group is
    called what its group named `group` captures, or its first one, or all that it matches. A picture in which it is not
    found keeps the group that its folder or list gives it, or stands alone; empty text is no group.
    Raises GroupError if a pattern finds nothing, or all pictures are in one group.
    """
    together = [*pictures]
    if pattern:
        expression = re.compile(composed(pattern))
        names = [_captured(expression, composed(picture.row.file_url or "")) for picture in pictures]
        if pictures and not any(names):
            shown = next((one.row.file_url for one in pictures if one.row.file_url), pictures[0].row.file)
            raise GroupError(
                f"--group {pattern}: it is found in none of {len(pictures)} pictures, such as {shown}: expected a "
                "pattern of which such a path holds one"
            )
        together = [
            replace(picture, row=replace(picture.row, group=name)) if name else picture
            for picture, name in zip(pictures, names, strict=True)
        ]
    (first, *others) = {picture.row.group or None for picture in together} or {None}
    if first and not others:
        how = f"--group {pattern}: " if pattern else ""
        raise GroupError(
            f"{how}all {len(together)} pictures are in one group, {first!r}, and a group stands on one side: expected "
            "what differs from one burst or video to the next"
        )
    return together


def _captured(expression: re.Pattern[str], path: str) -> str:
    """Empty for no group."""
    found = expression.search(path)
    if found is None:
        return ""
    return found["group" if "group" in expression.groupindex else min(expression.groups, 1)] or ""


def inseparable(rows: Sequence[PictureRow], near: NearDuplicates) -> list[str | None]:
    """For each picture a name that it shares with its group and its near-duplicates, and with what belongs to these;
    None for one that stands alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = {node for row in rows for node in (row.perceptual_hash, unit_of(row))}
    number = {node: n for n, node in enumerate(nodes)}
    edges = [(row.perceptual_hash, unit_of(row)) for row in rows]
    edges += [
        (row.perceptual_hash, h) for row in rows for h in near.of.get(row.perceptual_hash, ()) if h in number
    ]
    ends = [[number[edge[end]] for edge in edges] for end in (0, 1)]
    graph = coo_array(([1] * len(edges), ends), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    of = [int(component[number[row.perceptual_hash]]) for row in rows]
    members: dict[int, list[str]] = {}
    for part, row in zip(of, rows, strict=True):
        members.setdefault(part, []).append(row.sha256[:16])
    return [min(members[part]) if len(members[part]) > 1 else None for part in of]
