"""Which installed distributions shape an output, and in which versions. Found without importing any."""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import hashlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path

from . import regular
from .code import if_missing, imported_by
from .memo import once
from .modules import exists, location

#: Luigi runs every stage and shapes no output.
PASSED_OVER = {*sys.stdlib_module_names, "luigi"}


def versions(names: Iterable[str]) -> dict[str, str | None]:
    """Installed versions of distributions, or of those that provide a package of such a name, as yaml is PyYAML's.
    "none said": a module without one; None: what is not there."""
    _forget_what_was_installed()
    return {name: _version(name) for name in names}


def imported(files: Mapping[str, Path]) -> set[str]:
    """The distributions that source files import, wherever in a file they do so; and by its own name, what may come
    only later: a package that none provides, or one of their own modules. `files`: as `code.sources` gives them."""
    _forget_what_was_installed()
    named, ours = imported_by(files), {name.split("/")[0].split(".")[0] for name in files}
    names = {origin.split(".")[0] for origin, _ in named} - PASSED_OVER
    installed = {d for name in names - ours for d in _provider_names(name) or [name]}
    missing = {if_missing(origin, name) for origin, name in named if origin.split(".")[0] in ours}
    return installed | {module for module in missing if module}


def upgraded(names: Iterable[str]) -> str | None:
    """The first library, in words, that lies here in another version than this process has found before, if it has
    loaded it: of which version that was, nobody knows."""
    for name in names:
        before, now = _first.get(name), _installed(name)
        if name in _first and before != now:
            modules = {name, *(module for module, names in _providers().items() if name in names)}
            if not modules.isdisjoint(sys.modules):
                return f"{name} was upgraded ({before} -> {now})"
            _first[name] = now
    return None


#: By name of a library, the version that this process found first, as long as it has loaded no other.
_first: dict[str, str | None] = {}


@functools.cache
def _version(name: str) -> str | None:
    found = _installed(name)
    _first.setdefault(name, found)
    return found


def _installed(name: str) -> str | None:
    # An upgrade that was cut short, or a folder that comes earlier in sys.path, makes more than one.
    found = [*importlib.metadata.distributions(name=name)]
    if found:
        return _said(next(filter(_is_imported, found), found[0]) if len(found) > 1 else found[0])
    if provider := next((other for other in _provider_names(name) if other != name), None):
        return _installed(provider)
    return "none said" if exists(name) else None


def _said(distribution: Distribution, field: str = "Version") -> str:
    """As its `metadata` has it, which parses all that the distribution says of itself: of 27 of them, in 34 ms and not
    in 6."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    said = re.search(rf"^{field}: *(\S+) *$", text, re.MULTILINE)
    return said[1] if said else distribution.metadata[field]


def _provider_names(module: str) -> list[str]:
    """The distributions that provide a top-level module: of several that claim it, those that Python imports it from,
    if that can be told."""
    names = [*dict.fromkeys(_providers().get(module, []))]
    if len(names) < 2:
        return names
    return [name for name in names if _is_imported(importlib.metadata.distribution(name), module)] or names


def _is_imported(distribution: Distribution, module: str | None = None) -> bool:
    """Whether Python would import a file that a distribution has noted, by its place and digest: of a top-level module,
    this one or any."""
    for file in distribution.files or ():
        top = file.parts[0].removesuffix(".py")
        if file.parts in ((f"{top}.py",), (top, "__init__.py")) and module in (None, top):
            path = location(top)
            if (
                path == Path(str(distribution.locate_file(file)))
                and file.hash
                and _digest(path) == file.hash.value
            ):
                return True
    return False


def _digest(path: Path) -> str:
    """As a distribution notes it of its files."""
    return base64.urlsafe_b64encode(hashlib.sha256(regular.read(path)).digest()).decode().rstrip("=")


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    """As importlib.metadata.packages_distributions has it from Python 3.12 on, which makes an object of each of all
    installed files: ten times as long."""
    providers: dict[str, list[str]] = {}
    for path, changed in _as_of.items():
        for module, name in _provided(path, changed):
            providers.setdefault(module, []).append(name)
    return providers


@functools.lru_cache(256)
def _provided(path: str, changed: int) -> list[tuple[str, str]]:
    """Modules that lie under an entry of sys.path, each with its distribution. `changed`: as in `_as_of`."""
    found = importlib.metadata.distributions(path=[path])
    return [(module, _said(each, "Name")) for each in found for module in _modules(each)]


def _modules(distribution: Distribution) -> set[str]:
    """The top-level modules of a distribution, as it declares them, or by its files."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return set(declared)
    if record := distribution.read_text("RECORD"):
        paths = [row[0] for row in csv.reader(record.splitlines()) if row]
    else:
        paths = [str(file) for file in distribution.files or ()]
    tops = {path.partition("/")[:2] for path in paths}
    names = {top if slash else inspect.getmodulename(top) or top for top, slash in tops}
    return {name for name in names if "." not in name}


_remembering = (_version, _providers)
#: By entry of sys.path, when anything was installed there last, as of what is remembered.
_as_of: dict[str, int] = {}


@once
def _forget_what_was_installed() -> None:
    """If anything has been installed since."""
    now = {}
    for path in sys.path:
        with contextlib.suppress(OSError):
            now[path] = Path(path or ".").stat().st_mtime_ns
    if now != _as_of:
        _as_of.clear()
        _as_of.update(now)
        for function in _remembering:
            function.cache_clear()
