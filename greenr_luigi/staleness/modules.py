"""Where Python finds modules, asked without importing any, and which of them are of one project."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from pathlib import Path

from .memo import once

#: Where modules lie that have nothing to do with each other.
INSTALLED = {
    *map(Path, sysconfig.get_paths().values()),
    *map(Path, [*site.getsitepackages(), site.getusersitepackages()]),
}


def exists(module: str) -> bool:
    """Whether Python would find a module, asked without importing it."""
    return find_spec(module) is not None


def location(module: str) -> Path | None:
    """The file that an import of a module would run; None for a namespace, or what is not there."""
    found = source_file(module)
    return found[1] if found else None


@once
def find_spec(module: str) -> ModuleSpec | None:
    """Where Python would find a module, asked without importing it or its parents."""
    if not module or (folders := folders_of(module.rpartition(".")[0])) == []:
        return None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(module, folders)
        except KeyError:
            # A namespace in a package asks that package, which is not imported.
            spec = ModuleSpec(module, None, is_package=True)
        if spec:
            return spec
    return None


@functools.cache
def folders_of(package: str) -> list[str] | None:
    """The folders that hold the modules of a package, several for a namespace; None, as in sys.meta_path, for those of
    sys.path."""
    if not package:
        return None
    if (spec := find_spec(package)) is None or spec.submodule_search_locations is None:
        return []
    parent, _, name = package.rpartition(".")
    if parent and not spec.has_location:
        return [f"{folder}/{name}" for folder in folders_of(parent) or []]
    return list(spec.submodule_search_locations)


def source_file(module: str) -> tuple[str, Path] | None:
    """The name of a module's source file, as in "my_package/__init__.py", and where it lies. None where there is none,
    such as for a namespace."""
    spec = find_spec(module)
    if spec is None or not spec.origin or not spec.has_location:
        return None
    path = Path(spec.origin)
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    return "/".join([*filter(None, package.split(".")), path.name]), path


def inside(package: str) -> list[str]:
    """The modules in a package, and in the packages in it."""
    paths = (
        path.relative_to(folder)
        for folder in folders_of(package) or []
        for path in Path(folder).rglob("*.py")
    )
    names = (".".join([package, *path.with_suffix("").parts]) for path in paths)
    return [name.removesuffix(".__init__") for name in names]


def is_of_one_project(module: str, other: str) -> bool:
    """Whether a module imports another one as a part of itself: both are of one top-level package, or they lie in one
    folder and the first is in no package, as scripts are that import each other."""
    top, other_top = module.split(".")[0], other.split(".")[0]
    if top == other_top:
        return True
    folder = _folder_of_scripts(top)
    spec = find_spec(other_top) if folder else None
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or [str(spec.origin)])]
    return any(Path(place).parent == folder for place in places)


@functools.cache
def _folder_of_scripts(top: str) -> Path | None:
    """The folder of a module that is in no package, and was not installed."""
    spec = find_spec(top)
    if spec is None or spec.submodule_search_locations is not None or not spec.has_location:
        return None
    folder = Path(str(spec.origin)).parent
    return None if folder in INSTALLED else folder


def module_of(name: str) -> str:
    """The module of the source file of that name."""
    return name.split(".")[0].removesuffix("/__init__").replace("/", ".")
