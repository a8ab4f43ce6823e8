"""Which installed distributions shape an output, and in which versions. Found without importing any."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .code import imports, parse

#: Luigi runs every stage and shapes no output.
PASSED_OVER = {*sys.stdlib_module_names, "luigi"}


def versions(names: Iterable[str]) -> dict[str, str | None]:
    """Installed versions of distributions, or of those that provide a package of such a name, as yaml is PyYAML's; None
    for what is not installed."""
    return {name: _version(name) for name in names}


@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        providers = _providers().get(name, [])
        return importlib.metadata.version(providers[0]) if providers else None


def imported(files: Mapping[str, Path]) -> set[str]:
    """The distributions that source files import, wherever in a file they do so; and by its own name, a package that
    none provides, as one may be installed later. `files`: as `code.sources` gives them."""
    names = {name for path in files.values() for name in _imports(path)}
    ours = {name.split("/")[0].split(".")[0] for name in files}
    return {d for name in names - ours - PASSED_OVER for d in _providers().get(name, [name])}


def _imports(path: Path) -> set[str]:
    """The top-level packages and modules that a source file names in its absolute imports."""
    return {origin.split(".")[0] for origin, _ in imports(parse(path, path.read_bytes()), package="")}


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
