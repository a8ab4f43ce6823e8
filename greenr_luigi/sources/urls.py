"""Lists of addresses that a person made, such as the tutorial's: a text or CSV file a class, or one CSV for all."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from greenr_luigi import lists
from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources import table
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.staleness.memo import once
from greenr_luigi.text import composed, did_you_mean, did_you_mean_each

SUFFIXES = (".txt", ".csv", ".tsv")


def candidates(request: Request) -> Iterator[Candidate]:
    """Each address of the label's list once, in its order. Raises GreenrError if there is no list."""
    from greenr_luigi.sources import download

    assert request.folder is not None
    session = download.session(request)
    path, entries = listed(request.folder, request.label)
    seen = set[str]()
    for entry in entries:
        if (url := entry.address) not in seen:
            seen.add(url)
            yield Candidate(
                functools.partial(download.begin, session, url),
                url,
                side=table.side_told(*entry.side),
                group=entry.group or None,
                place=f"{path.name}, line {entry.line}",
            )


def addresses(request: Request) -> Sequence[str]:
    assert request.folder is not None
    _, entries = listed(request.folder, request.label)
    each = dict.fromkeys(entry.address for entry in entries)
    return [*itertools.islice(each, request.limit or None)]


def listed(folder: Path, label: str) -> tuple[Path, list[lists.Entry]]:
    """The list of a label and what it says: its own file in the folder, or a CSV of label,url in place of a folder."""
    if folder.is_file():
        labels = _by_label(folder, True, *_state(folder))
        own = labels.get(composed(label), [])
        if labels and not own:
            raise SourceError(
                f"{folder} has no line with the label {label!r}: {did_you_mean(label, sorted(labels))}"
            )
        return folder, own
    file = _list_of(folder, label)
    if not file.is_file():
        raise _no_list(folder, [label])
    return file, _by_label(file, False, *_state(file)).get("", [])


def require(request: Request, labels: Sequence[str]) -> None:
    """A list for all is not read for that, which takes long."""
    folder = request.folder
    assert folder is not None
    if folder.is_dir() and (absent := [label for label in labels if not _list_of(folder, label).is_file()]):
        raise _no_list(folder, absent)


def _no_list(folder: Path, absent: Sequence[str]) -> SourceError:
    known = sorted(labels(folder)) if folder.is_dir() else []
    return SourceError(
        f"--folder {folder} has no list for {did_you_mean_each(absent, known, 'there is none')}; list addresses in "
        f"{folder_name(absent[0])}.txt there, or give a CSV file with the columns label,url"
    )


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1)
def _by_label(path: Path, labelled: bool, *state: int) -> Mapping[str, list[lists.Entry]]:
    """Remembered, as long as the file is in that state: of one list for all classes each class asks, and each part of a
    long one."""
    found = collections.defaultdict[str, list[lists.Entry]](list)
    for entry in lists.entries(path, labelled):
        found[entry.label if labelled else ""].append(entry)
    return found


def _list_of(folder: Path, label: str) -> Path:
    """The list of a label in a folder, however its accents are composed and its suffix is written, or where it would
    be."""
    names = dict.fromkeys(name for name in (label, folder_name(label)) if "/" not in name)
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES for name in names]
    if found := next((file for file in files if file.is_file()), None):
        return found
    called = (path for file in files for path in _called(folder).get(composed(file.name), ()))
    return next(filter(Path.is_file, called), files[0])


@once
def _called(folder: Path) -> Mapping[str, Sequence[Path]]:
    """What lies in a folder, sorted, by its name composed, with the suffix in small letters."""
    found = collections.defaultdict[str, list[Path]](list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        found[composed(path.stem + path.suffix.lower())].append(path)
    return found


def classes(request: Request) -> list[str]:
    """Those of the one list for all, or the names of the lists. Raises SourceError where these are less than two."""
    folder = request.folder
    assert folder is not None
    if folder.is_file():
        found = {entry.label for entry in lists.entries(folder, labelled=True)} - {""}
    else:
        found = labels(folder)
    if len(found) < 2:
        raise SourceError(
            f"--folder {folder} tells of {', '.join(found) or 'no class'}: expected two classes or more, by lists "
            "named <class>.txt or <class>.csv, or by one CSV file with the columns label,url"
        )
    return sorted(found)


def labels(folder: Path) -> set[str]:
    """What the lists of a folder are called: its texts with an address in them."""
    return {
        composed(path.stem)
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not path.name.startswith(".")
        and lists.has_address(path)
    }


def reads(label: str, folder: Path | None, root: Path) -> Mapping[str, Path]:
    if folder is None:
        return {}
    return {"the list of addresses": folder if folder.is_file() else _list_of(folder, label)}


SOURCE = Source(
    "urls",
    "lists of addresses: --folder holds <label>.txt, .csv or .tsv, or is a CSV of label,url",
    candidates,
    addresses=addresses,
    is_list=True,
    needs_folder=True,
    default_limit=0,
    reads=reads,
    classes=classes,
    require=require,
)
