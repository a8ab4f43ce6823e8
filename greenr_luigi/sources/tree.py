"""What a person's folder holds, listed once, and whether it still does."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from greenr_luigi.sources import table
from greenr_luigi.sources.fileset import FileSet, is_picture, is_taken
from greenr_luigi.sources.source import SourceError
from greenr_luigi.staleness import listing

#: What programs keep beside pictures, such as fastai's models/ or annotations/: a folder of nothing else is no class.
#: A camera's raw files are not among these, as whoever has only those wants to hear of it.
NO_PICTURES = frozenset(
    {
        *(".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".safetensors"),
        *(".onnx", ".h5", ".keras", ".npy", ".npz"),
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".log"),
        *(".py", ".ipynb", ".sh", ".cfg", ".ini", ".toml", ".db", ".sqlite"),
        *(".pyc", ".mat", ".pb", ".tflite", ".parquet"),
    }
)


class Children(NamedTuple):
    """What lies in a folder, sorted: visible folders, links to folders among them; what is called as pictures are, and
    as tables are."""

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    tables: tuple[str, ...]


class Tree:
    """What lies below a folder. Each folder in it is listed, and each table read, when it is asked for first; what it
    was just before is kept. So the answers go together, and whoever remembers them can tell whether they `hold`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        #: By path: None for what was not there.
        self._seen: dict[str, listing.State | None] = {}
        self._settled = True
        self._children: dict[Path, Children] = {}
        self._held: dict[Path, Sequence[str]] = {}
        self._names: Sequence[str] | None = None

    def holds(self) -> bool:
        """Whether all that was looked at is as it was: another look would find the same."""
        return self._settled and all(listing.state(path) == then for path, then in self._seen.items())

    def children(self, folder: Path) -> Children:
        """Raises SourceError for a folder that cannot be listed."""
        if folder not in self._children:
            with _named(folder):
                self._children[folder] = self._list(folder)
        return self._children[folder]

    def names(self) -> Sequence[str]:
        """Of all files, as listing.names has them."""
        if self._names is None:
            self._names = [*listing.names(self.top, self._see)]
        return self._names

    def table(self, path: Path) -> table.Table | None:
        """As table.read has it."""
        self._see(path)
        return table.read(path)

    def columns(self, path: Path) -> Sequence[str]:
        """As table.columns has them."""
        self._see(path)
        return table.columns(path)

    def held(self, files: FileSet) -> Sequence[str]:
        """The folders in a class's folder that holds no files beside them; no more is listed than tells. Raises
        SourceError for one that cannot be listed."""
        if files.rows is not None:
            return ()
        if files.folder not in self._held:
            with _named(files.folder):
                self._held[files.folder] = self._only_folders(files.folder)
        return self._held[files.folder]

    def has_file(self, folder: Path) -> bool:
        """Whether any file lies below that is no text about pictures."""
        return any(map(is_taken, self._files(folder)))

    def may_hold_pictures(self) -> bool:
        """Whether there is a file that is not told to be none by its name."""
        return any(ending not in NO_PICTURES for ending in self._endings(self.top))

    def is_for_programs(self, folder: Path) -> bool:
        """Whether files lie below, all of them of NO_PICTURES."""
        endings = self._endings(folder)
        first = next(endings, None)
        return first in NO_PICTURES and all(ending in NO_PICTURES for ending in endings)

    def _see(self, path: Path | str) -> None:
        if (name := str(path)) not in self._seen:
            state = self._seen[name] = listing.state(name)
            # Of what has changed in this tick of the clock, a change to come may leave all of this as it is.
            self._settled = self._settled and (state is None or all(map(listing.is_settled, state[-2:])))

    def _list(self, folder: Path) -> Children:
        self._see(folder)
        folders, pictures, tables = [], [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if listing.is_hidden(entry.name):
                    continue
                if entry.is_symlink():
                    self._see(entry.path)
                # Of a link that leads back to itself, entry.is_dir raises OSError.
                if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():  # noqa: PTH112
                    self._see(entry.path)
                    # What runs have made, as where `--folder .` holds `--root data`.
                    if not os.path.exists(f"{entry.path}/{listing.DATA_ROOT}"):  # noqa: PTH110  of each class
                        folders.append(entry.name)
                elif is_picture(entry.name):
                    pictures.append(entry.name)
                elif entry.name.lower().endswith(table.SUFFIXES):
                    tables.append(entry.name)
        return Children(tuple(sorted(folders)), tuple(sorted(pictures)), tuple(sorted(tables)))

    def _only_folders(self, folder: Path) -> Sequence[str]:
        self._see(folder)
        names = []
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        names.append(entry.name)
                    elif is_taken(entry.name) and not listing.is_hidden(entry.name):
                        return ()
        return sorted(itertools.filterfalse(listing.is_hidden, names))

    def _endings(self, folder: Path) -> Iterator[str]:
        """Of the files below that are no texts about pictures."""
        return (os.path.splitext(name)[1].lower() for name in self._files(folder) if is_taken(name))  # noqa: PTH122

    def _files(self, top: Path | str) -> Iterator[str]:
        """The names of the files below; no more is listed than is asked for."""
        below = [top]
        while below:
            folder = below.pop()
            self._see(folder)
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if listing.is_hidden(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            below.append(entry.path)
                        else:
                            yield entry.name
            except OSError as error:
                listing.raise_unless_unreachable(error)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}") from None
