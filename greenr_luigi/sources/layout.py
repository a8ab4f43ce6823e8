"""How a person's folder says which of its files are of which class: by names alone, no picture is opened."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from greenr_luigi.pictures.labels import LabelError, folder_name
from greenr_luigi.sources import doubts, naming, table
from greenr_luigi.sources.source import SourceError
from greenr_luigi.sources.subfolders import by_folders, inner
from greenr_luigi.sources.table import Table
from greenr_luigi.sources.tree import Tree
from greenr_luigi.sources.understood import Layout, some
from greenr_luigi.staleness.shown import printable

#: Folders in which a table is looked for, too.
ABOUT = naming.IMAGES | naming.NOTES | {"data", "csv"}


def classes(folder: Path, pattern: str = "") -> list[str]:
    """The labels of a folder, sorted. Raises SourceError where it is not told for certain, with the possibilities."""
    found = of(folder, pattern)
    same = "" if found.doubt else doubts.same_inside(found)
    if why := found.doubt or same or doubts.no_file(found):
        names = sorted({*found.classes, *(found.inside if same else ())})
        named = f"; or name the classes yourself: --classes {printable(','.join(names))}"
        raise SourceError(f"--folder {folder}: {why}{named if len(names) > 1 else ''}")
    for label in found.classes:
        try:
            folder_name(label)
        except LabelError as error:
            raise SourceError(f"--folder {folder}: {error}") from None
    return sorted(found.classes)


def of(folder: Path, pattern: str = "") -> Layout:
    """What a folder's names tell, and its tables. `pattern`: a regular expression that finds the label in the name of a
    file. Raises SourceError if it is no folder, and GreenrError for a table that cannot be read."""
    kept = _kept(folder, pattern)
    found = next((each for each in kept if each.tree.holds()), None)
    if found is None:
        found = _made(Tree(folder), pattern)
        kept[:] = [found]
    return found


@functools.lru_cache(4)
def _kept(folder: Path, pattern: str) -> list[Layout]:
    """What was understood last, if anything was: many stages ask, each for one label."""
    return []


def _made(tree: Tree, pattern: str) -> Layout:
    if not tree.top.is_dir():
        raise SourceError(
            f"--folder {tree.top} is not a folder: give one that holds a sub-folder for each class"
        )
    if pattern:
        return _by_pattern(tree, pattern)
    top, folders = inner(tree, tree.top)
    plain = by_folders(tree, top, folders)
    tables = _tables(tree, top)
    if known := {path: found for path, found in tables.items() if not found.guessed}:
        tables = known
    elif not plain.doubt:
        return plain
    return _by_tables(plain, tables) if tables else plain


def _by_pattern(tree: Tree, pattern: str) -> Layout:
    named = naming.by_pattern(tree, pattern)
    doubt = ""
    if len(named.classes) < 2:
        found = some([*named.classes]) or "nothing"
        doubt = f"--label-pattern {pattern} finds {found} in the names of its pictures: expected two labels or more"
    return Layout(tree, named.classes, f"--label-pattern {pattern}", doubt)


def _by_tables(plain: Layout, tables: Mapping[Path, Table]) -> Layout:
    """What tables tell. `plain`: what sub-folders do."""
    names = [path.relative_to(plain.tree.top).as_posix() for path in tables]
    labels = {row.label for table in tables.values() for row in table.rows}
    if plain.classes.keys() >= labels and not plain.doubt:
        return plain
    named, both = naming.by_tables(plain.tree, tables), sorted(labels & plain.classes.keys())
    around = {label: sets for label, sets in plain.classes.items() if label not in labels} | plain.around
    column = " and ".join(sorted({table.column for table in tables.values()}))
    by = f"the column {printable(column)} of {some(names)}"
    if not named.files:
        if plain.classes and not plain.doubt:
            return plain
        gone = f"{some(names)} names files that are not there, such as {printable(_first(tables))}"
        return replace(plain, doubt=f"{plain.doubt}; {gone}")
    if both:
        doubt = f"{some(both)} is told by {some(names)} and by a sub-folder: move one of them away"
        return replace(plain, doubt=doubt, around={**named.classes, **around})
    doubt = doubts.which(tables, names) or doubts.too_few(named.classes) or doubts.alike(named.classes)
    if len(labels) > doubts.MOST_LABELS and 2 * len(labels) > named.files:
        doubt = f"{len(labels)} labels for {named.files} files by {by}: call the column of the labels label"
    return Layout(plain.tree, named.classes, by, doubt, plain.pictures, around)


def _tables(tree: Tree, top: Path) -> dict[Path, Table]:
    """Where tables are looked for: in the folder and in what was passed through, in sides, and in what is called as the
    pictures are or as what is about them."""
    passed = [
        tree.top,
        *(top.parents[level] for level in range(len(top.relative_to(tree.top).parts) - 1)),
        top,
    ]
    places = list[Path]()
    for place in passed:
        folders = tree.children(place).folders
        about = (n for n in folders if table.side_called(n) or n.lower() in ABOUT or len(folders) == 1)
        places += [place, *(place / name for name in about)]
    paths = [place / name for place in dict.fromkeys(places) for name in tree.children(place).tables]
    return {path: found for path in paths if (found := tree.table(path)) and found.rows}


def _first(tables: Mapping[Path, Table]) -> str:
    return next(row.file for found in tables.values() for row in found.rows)
