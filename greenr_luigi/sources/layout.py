"""How a person's folder says which of its files are of which class: by names alone, no picture is opened."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from greenr_luigi.pictures.labels import LabelError, folder_name
from greenr_luigi.sources import archive, naming, table
from greenr_luigi.sources.fileset import FileSet, is_picture, is_taken
from greenr_luigi.sources.source import SourceError
from greenr_luigi.sources.table import SIDE_OF, Table
from greenr_luigi.staleness import listing
from greenr_luigi.staleness.shown import printable
from greenr_luigi.text import composed

#: What programs keep beside pictures, such as fastai's models/ or annotations/: a folder of nothing else is no class.
#: A camera's raw files are not among these, as whoever has only those wants to hear of it.
NO_PICTURES = frozenset(
    {
        *(
            ".pth",
            ".pt",
            ".pkl",
            ".pickle",
            ".ckpt",
            ".safetensors",
            ".onnx",
            ".h5",
            ".keras",
            ".npy",
            ".npz",
        ),
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".log"),
        *(".py", ".ipynb", ".sh", ".cfg", ".ini", ".toml", ".db", ".sqlite"),
        *(".pyc", ".mat", ".pb", ".tflite", ".parquet"),
    }
)
#: Folders that hold nothing but one folder, as archives have them, are passed through so many times.
DEEPEST = 8


#: Folders in which a table is looked for, too.
ABOUT = naming.IMAGES | naming.NOTES | {"data", "csv"}


class Children(NamedTuple):
    """What lies in a folder, sorted: visible folders, links to folders among them; what is called as pictures are, and
    as tables are."""

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What was understood of a folder."""

    folder: Path
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
        known, names = self.around | self.classes, (composed(label), composed(folder_name(label)))
        if found := known.get(names[0]) or known.get(names[1]):
            return [part for each in found for part in _by_side(each)]
        inside = ((each, name) for sets in self.classes.values() for each in sets for name in _held(each))
        return [_below(each, name) for each, name in inside if composed(name).strip() in names]

    def told(self, label: str) -> dict[str, object]:
        """By what a class is told, how many files it has, how many more lie there, and how many beside all classes."""
        own, every = self.filesets(label), [each for sets in self.classes.values() for each in sets]
        files = sum(1 for each in own for _ in each.names())
        whole = {each.folder for each in (*every, *own) if each.rows is None}
        there = sum(_count(each.folder) for each in own if each.rows is None)
        named = {name for each in every for name in each.rows or ()}
        return {
            "by": self.by,
            "files": files,
            "passed over": there - files if there else 0,
            "beside": _count(self.folder, whole) - len(named),
        }


def _below(files: FileSet, name: str) -> FileSet:
    return FileSet(files.folder / name, f"{files.name}/{name}", files.side)


def _by_side(files: FileSet) -> Sequence[FileSet]:
    """A class's folder may hold the sides of a split, and nothing else."""
    sides = {name: table.side_called(name) for name in _held(files)}
    if files.side or not all(sides.values()) or len({*sides.values()}) < 2:
        return [files]
    return [replace(_below(files, name), side=side) for name, side in sides.items()]


def _held(files: FileSet) -> Sequence[str]:
    """The folders in a class's folder that holds no files beside them; no more is listed than tells."""
    names = []
    if files.rows is None and files.folder.is_dir():
        with os.scandir(files.folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                elif is_taken(entry.name) and not listing.is_hidden(entry.name):
                    return []
    return sorted(name for name in names if not listing.is_hidden(name))


def _same_inside(found: Layout) -> str:
    """Where folders hold the same folders, such as folds or kinds of pictures, either may be the classes."""
    inside = {label: {composed(name).strip() for each in sets for name in _held(each)}
              for label, sets in found.classes.items()}  # fmt: skip
    names = next(iter(inside.values()), set())
    if len(inside) > 1 and len(names) > 1 and all(held == names for held in inside.values()):
        if all(map(table.side_called, names)):
            return ""
        outer, inner = some(sorted(inside)), some(sorted(names))
        return f"{outer} each hold {inner}: which of them are the classes?"
    for label, held in inside.items():
        if label not in held and (both := sorted(held & inside.keys())):
            return f"{label} holds {some(both)}, as there are beside it: remove one of them, or say which"
    return ""


def understood(told: Mapping[str, Mapping[str, Any]]) -> str:
    """What was understood of a folder, in words, of what Layout.told says of each class, by its label."""
    if not told:
        return ""
    by = " and ".join(sorted({each["by"] for each in told.values()}))
    counts = some([f"{label} {each['files']}" for label, each in told.items()], 8)
    passed_over = sum(each["passed over"] for each in told.values()) + max(
        each["beside"] for each in told.values()
    )
    rest = f"; {passed_over} file{'s' * (passed_over > 1)} passed over" if passed_over else ""
    return f"{len(told)} classes by {by}: {counts}{rest}"


def _count(top: Path, but: Collection[Path] = ()) -> int:
    """How many files lie below a folder, hidden ones too, but for those in some folders."""
    count = 0
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in but]
        count += len(files)
    return count


def classes(folder: Path, pattern: str = "") -> list[str]:
    """The labels of a folder, sorted. Raises SourceError where it is not told for certain, with the possibilities."""
    found = of(folder, pattern)
    why = found.doubt or _same_inside(found)
    names = {*found.classes}
    if why and not found.doubt:
        names.update(
            composed(name).strip() for sets in found.classes.values() for each in sets for name in _held(each)
        )
    if not why:
        sets = [each for sets in found.classes.values() for each in sets if each.rows is None]
        if empty := [each.name for each in sets if not _has_file(each.folder)]:
            why = f"{some(empty)} {'holds' if len(empty) == 1 else 'hold'} no file: remove it, or say which"
    if why:
        remedy = (
            f"; the classes are named by --classes {printable(','.join(sorted(names)))}"
            if len(names) > 1
            else ""
        )
        raise SourceError(f"--folder {folder}: {why}{remedy}")
    for label in found.classes:
        try:
            folder_name(label)
        except LabelError as error:
            raise SourceError(f"--folder {folder}: {error}") from None
    return sorted(found.classes)


def of(folder: Path, pattern: str = "") -> Layout:
    """What a folder's names tell, and its tables. `pattern`: a regular expression that finds the label in the name of a
    file. Raises SourceError if it is no folder, and GreenrError for a table that cannot be read."""
    if not folder.is_dir():
        raise SourceError(
            f"--folder {folder} is not a folder: give one that holds a sub-folder for each class"
        )
    if pattern:
        named = naming.by_pattern(folder, pattern)
        doubt = "" if len(named.classes) > 1 else (
            f"--label-pattern {pattern} finds {some([*named.classes]) or 'nothing'} in the names of its pictures: "
            "expected two labels or more"
        )  # fmt: skip
        return Layout(folder, named.classes, f"--label-pattern {pattern}", doubt)
    top, folders = _inner(folder)
    plain = _by_folders(folder, top, folders)
    tables = _tables(folder, top)
    if known := {path: found for path, found in tables.items() if not found.guessed}:
        tables = known
    elif not plain.doubt:
        return plain
    if not tables:
        return plain
    names = [path.relative_to(folder).as_posix() for path in tables]
    labels = {row.label for table in tables.values() for row in table.rows}
    if plain.classes.keys() >= labels and not plain.doubt:
        return plain
    named, both = naming.by_tables(folder, tables), sorted(labels & plain.classes.keys())
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
    doubt = _which(tables, names) or _too_few(named.classes) or _alike(named.classes)
    if len(labels) > MOST_LABELS and 2 * len(labels) > named.files:
        doubt = f"{len(labels)} labels for {named.files} files by {by}: call the column of the labels label"
    return Layout(folder, named.classes, by, doubt, plain.pictures, around)


#: So few files may each have a label of its own.
MOST_LABELS = 20


def _tables(folder: Path, top: Path) -> dict[Path, Table]:
    """Where tables are looked for: in the folder and in what was passed through, in sides, and in what is called as the
    pictures are or as what is about them."""
    passed = [folder, *(top.parents[level] for level in range(len(top.relative_to(folder).parts) - 1)), top]
    places = list[Path]()
    for place in passed:
        folders = children(place).folders
        about = (n for n in folders if table.side_called(n) or n.lower() in ABOUT or len(folders) == 1)
        places += [place, *(place / name for name in about)]
    paths = [place / name for place in dict.fromkeys(places) for name in children(place).tables]
    return {path: found for path in paths if (found := table.read(path)) and found.rows}


def _which(tables: Mapping[Path, Table], names: Sequence[str]) -> str:
    """Several are told apart by their folders, or are called as sides are."""
    folders = {path.parent for path in tables}
    if len(folders) == len(tables) or all(map(naming.side_of_table, tables)):
        return ""
    return f"{some(names)} each tell the classes: move the others away"


def _first(tables: Mapping[Path, Table]) -> str:
    return next(row.file for found in tables.values() for row in found.rows)


def _by_folders(folder: Path, top: Path, folders: Sequence[str]) -> Layout:
    every, pictures, _ = children(top)
    inner = top.relative_to(folder).as_posix()
    below, where = (f"{inner}/", f" in {printable(inner)}") if top != folder else ("", "")
    around = _classes([(FileSet(top, inner), top.name)] if top.parent == folder else [])
    over = sorted({*every}.difference(folders))
    around |= _classes((FileSet(top / name, f"{below}{name}"), name) for name in over)
    sides = _sides(folders)
    plain = _classes((FileSet(top / name, f"{below}{name}"), name) for name in folders)
    if not folders:
        return Layout(folder, doubt=_flat(pictures, folder, top), pictures=pictures)
    if not sides:
        doubt = _beside(pictures, folders) or _too_few(plain) or _alike(plain)
        return Layout(folder, plain, f"sub-folders{where}", doubt, pictures, around)
    given = [_Side(top, below, *each) for each in sides.items()]
    by_side = _classes(itertools.chain.from_iterable(side.filesets() for side in given))
    by = f"sub-folders of {', '.join(side.name for side in given)}{where}"
    if others := sorted({*folders}.difference(sides)):
        doubt = f"{some([*sides])} beside {some(others)}: the sides of a split, or classes?"
        return Layout(folder, {**by_side, **plain}, by, doubt, pictures)
    if not by_side:
        held = " and ".join(sides)
        hold = "hold" if len(sides) > 1 else "holds"
        remedy = f"make one for each class{_otherwise(given[0].pictures)}"
        doubt = f"{held} {hold} no sub-folder, so that no class is told: {remedy}"
        return Layout(folder, doubt=doubt, pictures=pictures, around=plain)
    doubt = _beside(pictures, folders) or _sides_differ(given) or _too_few(by_side) or _alike(by_side)
    return Layout(folder, by_side, by, doubt, pictures)


def _inner(top: Path) -> tuple[Path, Sequence[str]]:
    """The first folder that holds more than one folder with nothing beside it, or pictures of no class, and what in it
    may be classes."""
    for _ in range(DEEPEST):
        if len(folders := _wanted(top)) != 1 or children(top).pictures or table.side_called(folders[0]):
            return top, folders
        inside = children(top / folders[0])
        if (inside.pictures or not inside.folders) and folders[0].lower() not in naming.IMAGES:
            return top, folders
        top /= folders[0]
    return top, _wanted(top)


def _wanted(top: Path) -> tuple[str, ...]:
    """The folders in one that may be classes: not what programs keep beside them, nor notes beside images."""
    folders = children(top).folders
    if any(name.lower() in naming.IMAGES for name in folders):
        folders = tuple(name for name in folders if name.lower() not in naming.NOTES)
    return tuple(name for name in folders if not _is_for_programs(top / name)) or folders


#: What sides are called, in their order.
SIDES = [*dict.fromkeys(SIDE_OF.values())]


def _sides(folders: Iterable[str]) -> dict[str, str]:
    """Those of some folders that are called as sides, with these: train and test, or seg_train and seg_test."""
    by_rest: dict[tuple[str, ...], dict[str, str]] = {}
    for name in folders:
        side, rest = table.side_and_rest(name)
        if side:
            by_rest.setdefault(rest, {})[name] = side
    found = by_rest.get(()) or next(
        (named for named in by_rest.values() if {"train"} < {*named.values()}), dict[str, str]()
    )
    return dict(sorted(found.items(), key=lambda one: (SIDES.index(one[1]), one[0])))


class _Side:
    """A folder that is a side of a given split, with a folder a class."""

    def __init__(self, top: Path, below: str, name: str, side: str) -> None:
        self.name, self.side = name, side
        self.path, self.classes = _inner(top / name)
        self._shown = f"{below}{self.path.relative_to(top).as_posix()}"
        # Kaggle's have one of the same name inside.
        if self.classes == (name,) and not children(self.path).pictures:
            self.path, self._shown = self.path / name, f"{self._shown}/{name}"
            self.classes = _wanted(self.path)
        self.pictures = children(self.path).pictures

    def filesets(self) -> Iterator[tuple[FileSet, str]]:
        for name in self.classes:
            yield FileSet(self.path / name, f"{self._shown}/{name}", self.side), name


def _classes(named: Iterable[tuple[FileSet, str]]) -> dict[str, list[FileSet]]:
    """By label; accents may be composed otherwise in another folder."""
    found: dict[str, list[FileSet]] = {}
    for files, name in named:
        found.setdefault(composed(name).strip(), []).append(files)
    return found


#: Where labels may stand in the names of files: Abyssinian_12.jpg, cat.0.jpg, rose (3).jpg.
PATTERNS = r"(?P<label>.+)_\d+", r"(?P<label>\D+?)[ ._(-]*\d"


def _otherwise(pictures: Sequence[str] = ()) -> str:
    """How else a class may be told than by sub-folders."""
    found = (one for one in PATTERNS if any(re.match(one, name) for name in pictures[:1]))
    return (
        ", put a table beside them with the columns file_name,label, or say where the label stands in their names, as "
        f"in --label-pattern '{next(found, PATTERNS[0])}'"
    )


def _flat(pictures: Sequence[str], folder: Path, top: Path) -> str:
    if not pictures:
        if packed := sorted(
            each.name for each in top.iterdir() if each.name.lower().endswith(archive.SUFFIXES)
        ):
            return f"there are archives in it ({some(packed)}) and no pictures: unpack them there, or name one of them"
        return "there is neither a sub-folder nor a picture: expected a sub-folder of pictures for each class"
    tables = [place / name for place in dict.fromkeys((folder, top)) for name in children(place).tables]
    known = "".join(
        f"; {printable(path.name)} has the columns {', '.join(map(printable, table.columns(path)[:9]))}"
        for path in tables[:3]
    )
    return (
        f"{len(pictures)} pictures such as {printable(pictures[0])} and no sub-folder, so that no class is told: make "
        f"one for each class{_otherwise(pictures)}{known}"
    )


def _beside(pictures: Sequence[str], folders: Sequence[str]) -> str:
    if not pictures:
        return ""
    return f"pictures ({some(pictures)}) beside the sub-folders {some(folders)}: put each where it belongs"


def _too_few(found: dict[str, list[FileSet]]) -> str:
    if len(found) > 1:
        return ""
    known = printable(next(iter(found), "none"))
    return f"one class only, {known}: expected a sub-folder of pictures for each of two or more{_otherwise()}"


def _alike(found: dict[str, list[FileSet]]) -> str:
    known: dict[str, str] = {}
    for label in found:
        if (other := known.setdefault(label.casefold(), label)) != label:
            return f"{printable(other)} and {printable(label)}: one class or two?"
    return ""


def _sides_differ(given: Sequence[_Side]) -> str:
    for side in given:
        if side.classes and side.pictures:
            return f"in {side.name} " + _beside(side.pictures, side.classes)
    labels = {side.name: {composed(name).strip() for name in side.classes} for side in given if side.classes}
    for (one, ones), (other, others) in itertools.permutations(labels.items(), 2):
        if lacking := sorted(ones - others):
            return f"{other} lacks {some(lacking)}, which {one} has: add what is missing, or say which"
    return ""


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, for a person."""
    shown = ", ".join(map(printable, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def children(folder: Path) -> Children:
    try:
        when = folder.stat().st_mtime_ns
        return _children(folder, when) if listing.is_settled(when) else _children.__wrapped__(folder, when)
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}") from None


@functools.lru_cache(1024)
def _children(folder: Path, mtime_ns: int) -> Children:
    """`mtime_ns`: what comes or goes in a folder changes it."""
    folders, pictures, tables = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if listing.is_hidden(entry.name):
                continue
            # Of a link that leads back to itself, entry.is_dir raises OSError.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():  # noqa: PTH112
                # What runs have made, as where `--folder .` holds `--root data`.
                if not Path(entry.path, listing.DATA_ROOT).exists():
                    folders.append(entry.name)
            elif is_picture(entry.name):
                pictures.append(entry.name)
            elif entry.name.lower().endswith(table.SUFFIXES):
                tables.append(entry.name)
    return Children(tuple(sorted(folders)), tuple(sorted(pictures)), tuple(sorted(tables)))


def _has_file(folder: Path) -> bool:
    """Whether any file lies below that is no text about pictures."""
    return any(map(is_taken, _files(folder)))


def may_hold_pictures(folder: Path) -> bool:
    """Whether a file lies below that is not told to be none by its name."""
    return any(ending not in NO_PICTURES for ending in _endings(folder))


def _is_for_programs(folder: Path) -> bool:
    """Whether files lie below, all of them of NO_PICTURES."""
    endings = _endings(folder)
    first = next(endings, None)
    return first in NO_PICTURES and all(ending in NO_PICTURES for ending in endings)


def _endings(folder: Path) -> Iterator[str]:
    """Of the files below that are no texts about pictures."""
    return (os.path.splitext(name)[1].lower() for name in _files(folder) if is_taken(name))  # noqa: PTH122


def _files(folder: Path) -> Iterator[str]:
    """The names of the files below; no more is listed than is asked for."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if listing.is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                else:
                    yield entry.name
    except OSError as error:
        listing.raise_unless_unreachable(error)
    for each in below:
        yield from _files(each)
