"""Files of a folder whose labels are told by the lines of tables, or by their own names."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi.sources.fileset import PICTURES, FileSet, Row, is_picture
from greenr_luigi.sources.table import SIDE_OF, Table, side_called, words
from greenr_luigi.sources.tree import Tree
from greenr_luigi.text import composed

#: Folders beside those, with what is about the pictures, and masks that are pictures, too.
NOTES = frozenset(
    [
        *("annotation", "annotations", "attributes", "label", "labels", "list", "lists", "mask", "masks"),
        *("meta", "metadata", "parts", "segmentations", "splits", "trimaps", "xml", "xmls"),
    ]
)
#: Folders of pictures by their names: where an id fits files elsewhere, too, such as masks, it is that of one in these.
IMAGES = frozenset({"images", "image", "imgs", "img", "jpg", "jpegs", "jpeg", "pictures", "photos"})


@dataclass(frozen=True)
class Named:
    """The files of each label, and how many these are."""

    classes: dict[str, list[FileSet]] = field(default_factory=dict)
    files: int = 0


def side_of(name: str) -> str | None:
    """By the first of its folders that is called as a side."""
    return next(filter(None, map(side_called, name.split("/")[:-1])), None)


def side_of_table(path: Path) -> str | None:
    """By the first word of its name."""
    return SIDE_OF.get(next(iter(words(path.stem)), ""))


def by_tables(tree: Tree, tables: Mapping[Path, Table]) -> Named:
    """The files below a folder that tables name. `tables`: by path."""
    called = {path: side_of_table(path) for path in tables}
    index, rows, missing = _Index(tree.names()), dict[str, dict[str, Row]](), dict[str, list[Row]]()
    for path, table in tables.items():
        near = path.parent.relative_to(tree.top).as_posix()
        for row in table.rows:
            if (name := index.find(row.file, "" if near == "." else near, path.stem, called[path])) is None:
                missing.setdefault(row.label, []).append(row)
            else:
                # One alone, such as Kaggle's train.csv, says nothing of sides.
                side = row.side or (called[path] if len(tables) > 1 else None) or side_of(name)
                rows.setdefault(row.label, {}).setdefault(name, row._replace(side=side))
    return _named(tree.top, rows, missing)


def by_pattern(tree: Tree, pattern: str) -> Named:
    """The pictures below a folder whose names hold a match of a regular expression, which has a group `label`, or else
    has the label as its first group."""
    searched = re.compile(pattern)
    group: str | int = "label" if "label" in searched.groupindex else 1
    pictures = [*filter(is_picture, tree.names())]
    if any(map(_is_in(IMAGES), pictures)):
        pictures = [*itertools.filterfalse(_is_in(NOTES), pictures)]
    rows = dict[str, dict[str, Row]]()
    for name in pictures:
        found = searched.search(composed(name.rpartition("/")[2]))
        if found and (label := (found[group] or "").strip()):
            rows.setdefault(label, {})[name] = Row(name, label, side_of(name), None, "")
    return _named(tree.top, rows, {})


def _is_in(folders: Collection[str]) -> Callable[[str], bool]:
    """Whether a file is in a folder so called."""
    return lambda name: any(part.lower() in folders for part in name.split("/")[:-1])


def _named(
    folder: Path, rows: Mapping[str, Mapping[str, Row]], missing: Mapping[str, Sequence[Row]]
) -> Named:
    classes = {
        label: [FileSet(folder, "", rows=rows.get(label, {}), missing=missing.get(label, ()))]
        for label in sorted({*rows, *missing})
    }
    return Named(classes, len({name for of in rows.values() for name in of}))


class _Index:
    """Files by what a table may call them: in capitals or not, with folders before it or without, and an id alone."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    @functools.cached_property
    def _by_end(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Names by their last part, and those of pictures by that without its suffix."""
        by_name: dict[str, list[str]] = {}
        by_stem: dict[str, list[str]] = {}
        for name in self._names:
            last = composed(name.rpartition("/")[2]).casefold()
            stem, suffix = os.path.splitext(last)  # noqa: PTH122
            by_name.setdefault(last, []).append(name)
            if suffix in PICTURES:
                by_stem.setdefault(stem, []).append(name)
        return by_name, by_stem

    def find(self, written: str, near: str, stem: str, side: str | None) -> str | None:
        """The file that a line means; None if there is none, or if it may be one of several. `near`: the folder of the
        table, relative; `stem` and `side`: what the table is called, as Kaggle's train.csv is about the files in train.
        """
        # Most are written as they are called.
        if (exact := f"{near}/{written}" if near else written) in self._names:
            return exact
        words = [
            word
            for word in composed(written).replace("\\", "/").casefold().split("/")
            if word not in ("", ".", "..")
        ]
        if not words:
            return None
        by_name, by_stem = self._by_end
        # An id has no suffix.
        cut = words[-1] not in by_name
        known = (by_stem if cut else by_name).get(words[-1], [])
        found = [name for name in known if _fits(_words(name, cut), words)]
        if len(found) > 1:
            choices: tuple[Callable[[str], bool], ...] = (
                lambda name: _words(name, cut) == [*_words(near, False), *words],
                lambda name: composed(name).endswith(composed(written)),
                lambda name: any(part.startswith(stem.casefold()) for part in _words(name, cut)[:-1]),
                lambda name: side is not None and side_of(name) == side,
                lambda name: not IMAGES.isdisjoint(_words(name, cut)[:-1]),
            )
            for choice in choices:
                if len(some := [*filter(choice, found)]) == 1:
                    return some[0]
        return found[0] if len(found) == 1 else None


def _words(name: str, cut: bool) -> list[str]:
    """The parts of a relative name; `cut`: without the suffix."""
    name = composed(name).casefold()
    return (os.path.splitext(name)[0] if cut else name).split("/") if name else []  # noqa: PTH122


def _fits(name: Sequence[str], written: Sequence[str]) -> bool:
    """Whether one is the end of the other: a table may leave folders out, or have those of another machine."""
    length = min(len(name), len(written))
    return name[-length:] == written[-length:]
