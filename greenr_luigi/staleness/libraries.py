"""Which installed distributions shape an output, and in which versions. Found without importing any."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .code import parse

#: Luigi runs every stage and shapes no output.
PASSED_OVER = {*sys.stdlib_module_names, "luigi"}


def versions(distributions: Iterable[str]) -> dict[str, str | None]:
    """Installed versions; None for what is not installed."""
    return {name: _version(name) for name in distributions}


@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def imported(files: Mapping[str, Path]) -> set[str]:
    """The distributions that source files import, wherever in a file they do so. A package that none provides is taken
    for a distribution of that name, which may be installed later. `files`: as `code.sources` gives them."""
    names = {name for path in files.values() for name in _imports(path)}
    ours = {name.split("/")[0].split(".")[0] for name in files}
    return {d for name in names - ours - PASSED_OVER for d in _providers().get(name, [name])}


def _imports(path: Path) -> list[str]:
    """The top-level packages and modules that a source file names in its imports."""
    nodes = list(ast.walk(parse(path, path.read_bytes())))
    plain = (alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names)
    origins = (str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level)
    return [name.split(".")[0] for name in (*plain, *origins)]


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
