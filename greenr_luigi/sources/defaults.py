"""What `source` and `classes` are where a person has left them empty: as the folder tells, where one is given."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.sources import archive, registry, urls
from greenr_luigi.sources import folder as own
from greenr_luigi.sources.fileset import is_picture
from greenr_luigi.sources.source import Request
from greenr_luigi.sources.tree import Tree
from greenr_luigi.staleness import data_root

#: Without a folder. Search engines in turn: the first two are made for programs, and say whose a picture is.
SOURCE = "openverse,commons,bing"
CLASSES = ("dandelion", "grass")


def filled_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stage's parameters, by name, with none of these two empty. So who says them has the same outputs.
    Raises SettingError where the folder does not tell."""
    found = dict(values)
    folder: Path | None = found.get("folder")
    try:
        if folder and "root" in found and archive.is_archive(folder):
            # Not when a run begins: an archive is unpacked there before, which says what stands in the way.
            with contextlib.suppress(OSError):
                data_root.mark(found["root"])
        if folder and "root" in found and folder in found["root"].parents:
            _refuse_among_pictures(found["root"])
        if found.get("source") == "":
            found["source"] = _source_of(folder) if folder else SOURCE
        if found.get("classes") == ():
            if folder and found.get("root") == folder:
                raise SettingError(
                    f"--root {folder} is the --folder, too, so that the folders of outputs would count as classes: "
                    f"choose another --root, such as {folder / 'data'}, or name the classes in --classes"
                )
            classes = registry.find(found["source"]).classes if folder and found.get("source") else None
            pattern = found.get("label_pattern", "")
            request = Request("", "", folder=folder, label_pattern=pattern, root=found.get("root", Path()))
            found["classes"] = tuple(classes(request)) if classes else CLASSES
    except GreenrError as error:
        raise SettingError(str(error)) from None
    return found


def _refuse_among_pictures(root: Path) -> None:
    """A data root in the folder of pictures is passed over, and so would the pictures in it be from then on."""
    if root.is_dir() and (name := next((p.name for p in root.iterdir() if is_picture(p.name)), None)):
        raise SettingError(
            f"--root {root} lies in the --folder and holds pictures, such as {name}, which would not be found from "
            "then on: choose a --root without any"
        )


def _source_of(folder: Path) -> str:
    if not folder.exists():
        raise SettingError(f"--folder {folder} does not exist: give the path of an existing one")
    if is_picture(folder.name) and folder.is_file():
        raise SettingError(f"--folder {folder} is a picture: name the folder that it is in")
    if not (folder.is_dir() or folder.is_file()):
        raise SettingError(
            f"--folder {folder} is neither a folder nor a file: give one of pictures, or a list"
        )
    return (urls.SOURCE if _holds_lists(folder) else own.SOURCE).name


def _holds_lists(folder: Path) -> bool:
    """Whether it is a list, or a folder with lists and nothing else that it could be for."""
    if not folder.is_dir():
        return not archive.is_archive(folder)
    return bool(urls.labels(folder)) and not Tree(folder).may_hold_pictures()
