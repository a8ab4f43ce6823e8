"""Which source files and libraries shape an output, and what has changed in them since."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from .traces import file_sha256, sha256_if_there


class CodeTrace(TypedDict):
    """SHA-256 of a source file: of its bytes, and of its syntax, which has no comments and no layout."""

    bytes: str
    syntax: str


@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(libraries: Iterable[str]) -> dict[str, str | None]:
    """Installed versions, found without importing anything."""
    return {name: _version(name) for name in libraries}


@functools.cache
def _home(package: str) -> Path:
    """The folder that holds a top-level package or module, found without importing it."""
    if package == "__main__":
        raise ModuleNotFoundError(
            "a stage in a script has no module to name: put it into a module and import it"
        )
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no module {package!r}: mend the stage's `code`")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(str(spec.origin)).parent


def _path(name: str) -> Path:
    """Where the source file of that name lies now, as in "my_package/training.py"."""
    return _home(name.split("/")[0].removesuffix(".py")) / name


def _module_path(module: str) -> Path | None:
    """The source file of a module, or of a package's __init__, found without importing its parents."""
    base = _home(module.split(".")[0]).joinpath(*module.split("."))
    candidates = (base / "__init__.py", base.with_name(base.name + ".py"))
    return next((path for path in candidates if path.exists()), None)


def sources(own: str, code: Iterable[str]) -> list[str]:
    """The source files that shape a stage, by name as in "my_package/training.py".

    Of the module `own` that defines the stage, its file alone. Of the modules and whole packages in `code`, theirs and
    those of all modules that they import from their own top-level package, wherever in a file they do so. Raises
    ModuleNotFoundError for a name in `code` that is no module."""
    paths = {own: _module_path(own)}
    todo = []
    for name in code:
        path = _module_path(name)
        if path is None:
            raise ModuleNotFoundError(f"no module {name!r}: mend the stage's `code`")
        todo.append(name)
        if path.name == "__init__.py":
            inside = (p.relative_to(path.parent).with_suffix("") for p in path.parent.rglob("*.py"))
            todo += [".".join([name, *parts.parts]) for parts in inside]
    while todo:
        name = todo.pop()
        path = _module_path(name)
        if path is not None and name not in paths:
            paths[name] = path
            todo += _imports(path, name)
            todo += [name.rpartition(".")[0]] if "." in name else []
    return sorted({str(path.relative_to(_home(name.split(".")[0]))) for name, path in paths.items() if path})


def _imports(path: Path, module: str) -> list[str]:
    """The modules of its own top-level package that a source file may import; names that are no modules among them."""
    parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == module.split(".")[0]]


def snapshot(names: Iterable[str]) -> dict[str, CodeTrace]:
    """By source file, what it is now."""
    paths = {name: _path(name) for name in names}
    return {name: {"bytes": file_sha256(path), "syntax": _syntax(path)} for name, path in paths.items()}


def changed(recorded: Mapping[str, CodeTrace], own: str, code: Iterable[str]) -> str | None:
    """The first source file whose syntax differs, in words: comments and layout do not count.

    While no recorded byte has changed, neither have the imports, so nothing is parsed."""
    edited = [name for name in recorded if sha256_if_there(_path(name)) != recorded[name]["bytes"]]
    if not edited:
        return None
    now = sources(own, code)
    for name in now:
        if name not in recorded or (name in edited and _syntax(_path(name)) != recorded[name]["syntax"]):
            return f"code of {name} changed"
    return next((f"code of {name} is gone" for name in recorded if name not in now), None)


def _syntax(path: Path) -> str:
    return hashlib.sha256(ast.dump(ast.parse(path.read_bytes())).encode()).hexdigest()
