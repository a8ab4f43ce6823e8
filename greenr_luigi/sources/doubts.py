"""Why a folder does not tell its classes for certain, in words, with the remedy. Empty words: it does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenr_luigi.sources import archive, table
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.naming import side_of_table
from greenr_luigi.sources.table import Table
from greenr_luigi.sources.tree import Tree
from greenr_luigi.sources.understood import Layout, some
from greenr_luigi.staleness.shown import printable
from greenr_luigi.text import composed

#: Where labels may stand in the names of files: Abyssinian_12.jpg, cat.0.jpg, rose (3).jpg.
PATTERNS = r"(?P<label>.+)_\d+", r"(?P<label>\D+?)[ ._(-]*\d"
#: So few files may each have a label of its own.
MOST_LABELS = 20


def flat(tree: Tree, pictures: Sequence[str], top: Path) -> str:
    """Of `top`, in which there is no sub-folder."""
    if not pictures:
        if packed := archives(top):
            packed = [(top / name).relative_to(tree.top).as_posix() for name in packed]
            return f"there are archives in it ({some(packed)}) and no pictures: unpack them there, or name one of them"
        return "there is neither a sub-folder nor a picture: expected a sub-folder of pictures for each class"
    tables = [
        place / name for place in dict.fromkeys((tree.top, top)) for name in tree.children(place).tables
    ]
    known = "".join(
        f"; {printable(path.name)} has the columns {', '.join(map(printable, tree.columns(path)[:9]))}"
        for path in tables[:3]
    )
    return (
        f"{len(pictures)} pictures such as {printable(pictures[0])} and no sub-folder, so that no class is told: make "
        f"one for each class{otherwise(pictures)}{known}"
    )


def archives(folder: Path) -> list[str]:
    """The names of what is packed in it."""
    return sorted(each.name for each in folder.iterdir() if each.name.lower().endswith(archive.SUFFIXES))


def otherwise(pictures: Sequence[str] = ()) -> str:
    """How else a class may be told than by sub-folders."""
    found = (one for one in PATTERNS if any(re.match(one, name) for name in pictures[:1]))
    return (
        ", put a table beside them with the columns file_name,label, or say where the label stands in their names, as "
        f"in --label-pattern '{next(found, PATTERNS[0])}'"
    )


def beside(pictures: Sequence[str], folders: Sequence[str]) -> str:
    if not pictures:
        return ""
    return f"pictures ({some(pictures)}) beside the sub-folders {some(folders)}: put each where it belongs"


def too_few(found: Mapping[str, Sequence[FileSet]]) -> str:
    if len(found) > 1:
        return ""
    known = printable(next(iter(found), "none"))
    return f"one class only, {known}: expected a sub-folder of pictures for each of two or more{otherwise()}"


def alike(found: Mapping[str, Sequence[FileSet]]) -> str:
    known: dict[str, str] = {}
    for label in found:
        if (other := known.setdefault(label.casefold(), label)) != label:
            return f"{printable(other)} and {printable(label)}: one class or two?"
    return ""


def sides_differ(classes: Mapping[str, Sequence[str]], pictures: Mapping[str, Sequence[str]]) -> str:
    """By the name of each side, the folders of its classes, and the pictures beside them."""
    for name in classes:
        if classes[name] and pictures[name]:
            return f"in {name} " + beside(pictures[name], classes[name])
    labels = {side: {composed(name).strip() for name in names} for side, names in classes.items() if names}
    for (one, ones), (other, others) in itertools.permutations(labels.items(), 2):
        if lacking := sorted(ones - others):
            return f"{other} lacks {some(lacking)}, which {one} has: add what is missing"
    return ""


def which(tables: Mapping[Path, Table], names: Sequence[str]) -> str:
    """Several are told apart by their folders, or are called as sides are."""
    folders = {path.parent for path in tables}
    if len(folders) == len(tables) or all(map(side_of_table, tables)):
        return ""
    return f"{some(names)} each tell the classes: move the others away"


def same_inside(found: Layout) -> str:
    """Where folders hold the same folders, such as folds or kinds of pictures, either may be the classes."""
    inside = {
        label: {composed(name).strip() for each in sets for name in found.tree.held(each)}
        for label, sets in found.classes.items()
    }
    names = next(iter(inside.values()), set())
    if len(inside) > 1 and len(names) > 1 and all(held == names for held in inside.values()):
        if all(map(table.side_called, names)):
            return ""
        outer, inner = some(sorted(inside)), some(sorted(names))
        return f"{outer} each hold {inner}: which of them are the classes?"
    for label, held in inside.items():
        if label not in held and (both := sorted(held & inside.keys())):
            return f"{label} holds {some(both)}, as there are beside it: remove one of them"
    return ""


def no_file(found: Layout) -> str:
    sets = [each for sets in found.classes.values() for each in sets if each.rows is None]
    empty = [each.name for each in sets if not found.tree.has_file(each.folder)]
    if not empty:
        return ""
    holds, it = ("holds", "it") if len(empty) == 1 else ("hold", "them")
    return f"{some(empty)} {holds} no file: put pictures into {it}, or remove {it}"
