"""What was understood of a person's folder: which files are of which class, and that in words."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.table import side_called
from greenr_luigi.sources.tree import Tree
from greenr_luigi.staleness.shown import printable
from greenr_luigi.text import composed


@dataclass(frozen=True)
class Layout:
    """What was understood of a folder."""

    tree: Tree
    #: The files of each label, by its name composed (NFC).
    classes: dict[str, list[FileSet]] = field(default_factory=dict)
    #: By what the classes are told.
    by: str = "sub-folders"
    #: Why it cannot be told what is a class; naming the classes settles it.
    doubt: str = ""
    #: Pictures beside the classes, by name.
    pictures: tuple[str, ...] = ()
    #: Others that somebody may name as classes, such as folders that were passed through or over.
    around: dict[str, list[FileSet]] = field(default_factory=dict)

    def filesets(self, label: str) -> Sequence[FileSet]:
        """Those of a label: a folder may be called as it is, or as our own are."""
        names = dict.fromkeys((composed(label), composed(folder_name(label))))
        for name in names:
            if found := self.classes.get(name) or self.around.get(name):
                return [part for each in found for part in self._by_side(each)]
        return [each for name in names for each in self.inside.get(name, ())]

    @functools.cached_property
    def inside(self) -> Mapping[str, Sequence[FileSet]]:
        """Folders in those of the classes where these hold nothing else, by their names composed."""
        return by_label(
            (_below(each, name), name)
            for sets in self.classes.values()
            for each in sets
            for name in self.tree.held(each)
        )

    def _by_side(self, files: FileSet) -> Sequence[FileSet]:
        """A class's folder may hold the sides of a split, and nothing else."""
        sides = {name: side_called(name) for name in self.tree.held(files)}
        if files.side or not all(sides.values()) or len({*sides.values()}) < 2:
            return [files]
        return [replace(_below(files, name), side=side) for name, side in sides.items()]


def by_label(named: Iterable[tuple[FileSet, str]]) -> dict[str, list[FileSet]]:
    """Files by the name composed; accents may be composed otherwise in another folder."""
    found: dict[str, list[FileSet]] = {}
    for files, name in named:
        found.setdefault(composed(name).strip(), []).append(files)
    return found


def understood(found: Layout, labels: Sequence[str]) -> str:
    """By what the classes are told, how many files each label has, and how many files lie there that are of none."""
    own = {label: found.filesets(label) for label in labels}
    files = {label: sum(1 for each in sets for _ in each.names()) for label, sets in own.items()}
    every = [each for sets in found.classes.values() for each in sets]
    whole = [each.folder for sets in own.values() for each in sets if each.rows is None]
    named = {name for each in every for name in each.rows or ()}
    beside = _count(found.tree.top, {*whole, *(each.folder for each in every if each.rows is None)}) - len(
        named
    )
    taken = sum(files[label] for label, sets in own.items() if any(each.rows is None for each in sets))
    passed_over = sum(map(_count, whole)) - taken + beside
    counts = some([f"{label} {count}" for label, count in files.items()], 8)
    rest = f"; {passed_over} file{'s' * (passed_over > 1)} passed over" if passed_over else ""
    return f"{len(labels)} classes by {found.by}: {counts}{rest}"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, for a person."""
    shown = ", ".join(map(printable, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _below(files: FileSet, name: str) -> FileSet:
    return FileSet(files.folder / name, f"{files.name}/{name}", files.side)


def _count(top: Path, but: Collection[Path] = ()) -> int:
    """How many files lie below a folder, hidden ones too, but for those in some folders."""
    count = 0
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in but]
        count += len(files)
    return count
