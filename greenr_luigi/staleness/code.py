"""Which source files shape an output, and what has changed in them since."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TypedDict

from .traces import file_sha256, sha256_if_there


class CodeTrace(TypedDict):
    """SHA-256 of a source file: of its bytes, and of its syntax, which has no comments and no layout."""

    bytes: str
    syntax: str


def sources(own: str, code: Iterable[str]) -> dict[str, Path]:
    """The source files that shape a stage, by name as in "my_package/training.py", wherever they lie.

    Of the module `own` that defines the stage, its file alone. Of the modules and whole packages in `code`, theirs and
    those of all modules that they import from their own top-level package, wherever in a file they do so. Raises
    ModuleNotFoundError for a name in `code` that is no module."""
    todo = []
    for name in code:
        if _spec(name) is None:
            raise ModuleNotFoundError(f"no module {name!r}: mend the stage's `code`")
        todo += [name, *_inside(name)]
    if own == "__main__":
        raise ModuleNotFoundError(
            "a stage in a script has no module to name: put it into a module and import it"
        )
    found, done = dict(filter(None, [_file(own)])), {own}
    while todo:
        module = todo.pop()
        if module not in done and (file := _file(module)):
            done.add(module)
            found.update([file])
            todo += [*_imports(file[1], module), module.rpartition(".")[0]]
    return dict(sorted(found.items()))


def _spec(module: str) -> ModuleSpec | None:
    """Where Python would find a module, asked without importing it or its parents."""
    if not module or (folders := _folders(module.rpartition(".")[0])) == []:
        return None
    specs = (finder.find_spec(module, folders) for finder in sys.meta_path)
    return next(filter(None, specs), None)


@functools.cache
def _folders(package: str) -> list[str] | None:
    """The folders that hold the modules of a package, several for a namespace; None, as in sys.meta_path, for those of
    sys.path."""
    if not package:
        return None
    if (spec := _spec(package)) is None or spec.submodule_search_locations is None:
        return []
    parent, _, name = package.rpartition(".")
    if parent and not spec.has_location:
        # A namespace in a package asks that package, which would have to be imported.
        return [f"{folder}/{name}" for folder in _folders(parent) or []]
    return list(spec.submodule_search_locations)


def _file(module: str) -> tuple[str, Path] | None:
    """The name of a module's source file, as in "my_package/__init__.py", and where it lies. None where there is none,
    such as for a namespace."""
    spec = _spec(module)
    if spec is None or not spec.origin or not spec.has_location:
        return None
    path = Path(spec.origin)
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    return "/".join([*filter(None, package.split(".")), path.name]), path


def _inside(package: str) -> list[str]:
    """The modules in a package, and in the packages in it."""
    paths = (
        path.relative_to(folder) for folder in _folders(package) or [] for path in Path(folder).rglob("*.py")
    )
    names = (".".join([package, *path.with_suffix("").parts]) for path in paths)
    return [name.removesuffix(".__init__") for name in names]


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


def snapshot(files: Mapping[str, Path]) -> dict[str, CodeTrace]:
    """What source files are now."""
    return {name: {"bytes": file_sha256(path), "syntax": _syntax(path)} for name, path in files.items()}


def changed(recorded: Mapping[str, CodeTrace], own: str, code: Iterable[str]) -> str | None:
    """The first source file whose syntax differs, in words: comments and layout do not count.

    While no recorded byte has changed, neither have the imports, so nothing is parsed."""
    if not (edited := [name for name in recorded if _sha256(name) != recorded[name]["bytes"]]):
        return None
    now = sources(own, code)
    for name, path in now.items():
        if name not in recorded or (name in edited and _syntax(path) != recorded[name]["syntax"]):
            return f"code of {name} changed"
    return next((f"code of {name} is gone" for name in recorded if name not in now), None)


def _sha256(name: str) -> str | None:
    """Of the bytes of the source file of that name."""
    file = _file(name.split(".")[0].removesuffix("/__init__").replace("/", "."))
    return sha256_if_there(file[1]) if file and file[0] == name else None


def _syntax(path: Path) -> str:
    return hashlib.sha256(ast.dump(ast.parse(path.read_bytes())).encode()).hexdigest()
