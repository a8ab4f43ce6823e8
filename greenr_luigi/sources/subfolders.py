"""Which sub-folders of a folder are classes, which are sides of a split, and which are neither."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from greenr_luigi.sources import doubts, naming
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.table import SIDE_OF, side_and_rest, side_called
from greenr_luigi.sources.tree import Tree
from greenr_luigi.sources.understood import Layout, by_label, some
from greenr_luigi.staleness.shown import printable

#: Folders that hold nothing but one folder, as archives have them, are passed through so many times.
DEEPEST = 8
#: What sides are called, in their order.
SIDES = [*dict.fromkeys(SIDE_OF.values())]


def by_folders(tree: Tree, top: Path, folders: Sequence[str]) -> Layout:
    """What sub-folders tell. `top` and `folders`: as `inner` has them of the tree."""
    every, pictures, _ = tree.children(top)
    inside = top.relative_to(tree.top).as_posix()
    below, where = (f"{inside}/", f" in {printable(inside)}") if top != tree.top else ("", "")
    around = by_label([(FileSet(top, inside), top.name)] if top.parent == tree.top else [])
    over = sorted({*every}.difference(folders))
    around |= by_label((FileSet(top / name, f"{below}{name}"), name) for name in over)
    sides = _sides(folders)
    plain = by_label((FileSet(top / name, f"{below}{name}"), name) for name in folders)
    if not folders:
        return Layout(tree, doubt=doubts.flat(tree, pictures, top), pictures=pictures)
    if not sides:
        doubt = doubts.beside(pictures, folders) or doubts.too_few(plain) or doubts.alike(plain)
        return Layout(tree, plain, f"sub-folders{where}", doubt, pictures, around)
    given = [_Side(tree, top, below, *each) for each in sides.items()]
    by_side = by_label(itertools.chain.from_iterable(side.filesets() for side in given))
    by = f"sub-folders of {', '.join(side.name for side in given)}{where}"
    if others := sorted({*folders}.difference(sides)):
        # Folders of pictures are no sides after all.
        by = by if by_side else f"sub-folders{where}"
        doubt = f"{some([*sides])} beside {some(others)}: the sides of a split, or classes?"
        return Layout(tree, {**by_side, **plain}, by, doubt, pictures)
    if not by_side:
        held = " and ".join(sides)
        hold = "hold" if len(sides) > 1 else "holds"
        remedy = f"make one for each class{doubts.otherwise(given[0].pictures)}"
        doubt = f"{held} {hold} no sub-folder, so that no class is told: {remedy}"
        return Layout(tree, doubt=doubt, pictures=pictures, around=plain)
    doubt = (
        doubts.beside(pictures, folders)
        or doubts.sides_differ(
            {side.name: side.classes for side in given}, {side.name: side.pictures for side in given}
        )
        or doubts.too_few(by_side)
        or doubts.alike(by_side)
    )
    return Layout(tree, by_side, by, doubt, pictures)


def inner(tree: Tree, top: Path) -> tuple[Path, Sequence[str]]:
    """The first folder that holds more than one folder with nothing beside it, or pictures of no class, and what in it
    may be classes."""
    for _ in range(DEEPEST):
        if len(folders := _wanted(tree, top)) != 1 or tree.children(top).pictures or side_called(folders[0]):
            return top, folders
        inside = tree.children(top / folders[0])
        passed = inside.folders or doubts.archives(top / folders[0])
        if (inside.pictures or not passed) and folders[0].lower() not in naming.IMAGES:
            return top, folders
        top /= folders[0]
    return top, _wanted(tree, top)


def _wanted(tree: Tree, top: Path) -> tuple[str, ...]:
    """The folders in one that may be classes: not what programs keep beside them, nor notes beside images."""
    folders = tree.children(top).folders
    if any(name.lower() in naming.IMAGES for name in folders):
        folders = tuple(name for name in folders if name.lower() not in naming.NOTES)
    return tuple(name for name in folders if not tree.is_for_programs(top / name)) or folders


def _sides(folders: Iterable[str]) -> dict[str, str]:
    """Those of some folders that are called as sides, with these: train and test, or seg_train and seg_test."""
    by_rest: dict[tuple[str, ...], dict[str, str]] = {}
    for name in folders:
        side, rest = side_and_rest(name)
        if side:
            by_rest.setdefault(rest, {})[name] = side
    found = by_rest.get(()) or next(
        (named for named in by_rest.values() if {"train"} < {*named.values()}), dict[str, str]()
    )
    return dict(sorted(found.items(), key=lambda one: (SIDES.index(one[1]), one[0])))


class _Side:
    """A folder that is a side of a given split, with a folder a class."""

    def __init__(self, tree: Tree, top: Path, below: str, name: str, side: str) -> None:
        self.name, self.side = name, side
        self.path, self.classes = inner(tree, top / name)
        self._shown = f"{below}{self.path.relative_to(top).as_posix()}"
        # Kaggle's have one of the same name inside.
        if self.classes == (name,) and not tree.children(self.path).pictures:
            self.path, self._shown = self.path / name, f"{self._shown}/{name}"
            self.classes = _wanted(tree, self.path)
        self.pictures = tree.children(self.path).pictures

    def filesets(self) -> Iterator[tuple[FileSet, str]]:
        for name in self.classes:
            yield FileSet(self.path / name, f"{self._shown}/{name}", self.side), name
