"""Which source files shape an output, and what has changed in them since."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from . import modules, regular
from .errors import StalenessError, no_python
from .memo import once
from .traces import sha256_if_there

#: By module, the names of the classes in it that are part of a stage.
OwnClasses = Mapping[str, Collection[str]]
NO_CLASSES: OwnClasses = {}
NONE = frozenset[str]()
#: Functions that import the module of a name.
IMPORTERS = {"import_module", "__import__"}


class CodeTrace(TypedDict):
    """SHA-256 of a source file: of its bytes, and of its syntax, which has no comments and no layout."""

    bytes: str
    syntax: str


def why_not_traceable(names: Iterable[str]) -> str | None:
    """Why an edit in one of these modules or packages could not be seen, in words; None if it could."""
    for name in names:
        if name == "__main__":
            return "it is defined in a script or a notebook, whose edits cannot be seen: move it to a module"
        if not modules.find_spec(name):
            return f"no module {name!r} can be found: mend its `code`"
        file = modules.source_file(name)
        if file and not file[1].is_file():
            return f"{name} lies in {file[1]}, where edits cannot be seen: unpack it to a folder"
        if not file and not modules.inside(name):
            return f"{name!r} has no source: name the distribution that it is from in `libraries`"
    return None


def sources(code: Iterable[str], own: OwnClasses = NO_CLASSES) -> dict[str, Path]:
    """The source files that shape a stage, by name as in "my_package/training.py", wherever they lie.

    Of the modules and whole packages in `code`: theirs, and those of all that they import from their own project
    (`is_of_one_project`), wherever in a file they do so, and of the packages that hold these. Of the modules in `own`,
    which define the stage: theirs, and those of all that they import likewise. Not of the packages that hold them, as
    these may list all stages, unless they are imported; and not of what other tasks import, which count by what they
    make.

    Raises StalenessError for a name that is no module, and for a module that cannot be parsed."""
    found: dict[str, Path] = {}
    named = [*code, *(module for name in code for module in modules.inside(name))]
    for start, classes in ((list(own), own), (named, None)):
        if words := why_not_traceable(start):
            raise StalenessError(words)
        todo, done = start, set()
        while todo:
            module = todo.pop()
            if module not in done and (file := modules.source_file(module)):
                done.add(module)
                found.update([file])
                todo += _imports(file[1], module, classes)
                todo += [module.rpartition(".")[0]] if classes is None else []
    return dict(sorted(found.items()))


def imported_by(files: Mapping[str, Path]) -> set[tuple[str, str | None]]:
    """What source files import, as `imports` gives it. `files`: as `sources` gives them."""
    return {
        what
        for name, path in files.items()
        for what in _imports_of(path, regular.read(path), name.rpartition("/")[0].replace("/", "."), NONE)
    }


def if_missing(origin: str, name: str | None) -> str | None:
    """The module that is imported, if it is not there. A name in a package is one, unless the package speaks of it."""
    if not modules.exists(origin):
        return origin
    if name is None or name == "*" or not modules.folders_of(origin) or modules.exists(f"{origin}.{name}"):
        return None
    file = modules.source_file(origin)
    return None if file and name.encode() in regular.read(file[1]) else f"{origin}.{name}"


def _imports(path: Path, module: str, own: OwnClasses | None) -> Iterator[str]:
    """The modules of its own project that a source file may import, and so uses. With `own`, other tasks are
    passed over, where they are imported and where they are defined."""
    package, source = module if path.name == "__init__.py" else module.rpartition(".")[0], regular.read(path)
    others = NONE
    if own is not None:
        defined = _classes(path, source) - {*own.get(module, ())}
        others = frozenset(name for name in defined if _is_task(module, name))
    for origin, name in _imports_of(path, source, package, others):
        if not modules.is_of_one_project(module, origin):
            continue
        inner = f"{origin}.{name}" if name and modules.find_spec(f"{origin}.{name}") else None
        passed_over = _is_in(inner or origin, __package__) or (not inner and name and _is_task(origin, name))
        if own is None or not passed_over:
            yield inner or origin


# Stages with files in common ask for the same again and again.
@functools.lru_cache(1024)
def _imports_of(
    path: Path, source: bytes, package: str, without: frozenset[str]
) -> tuple[tuple[str, str | None], ...]:
    """The `imports` of a source file of that content, but for what stands in classes `without`."""
    tree = parse(path, source)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in without)]
    return tuple(imports(tree, package))


@functools.lru_cache(1024)
def _classes(path: Path, source: bytes) -> frozenset[str]:
    """The names of the classes that a source file of that content defines."""
    return frozenset(node.name for node in parse(path, source).body if isinstance(node, ast.ClassDef))


def imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str | None]]:
    """What is imported anywhere in a module of that package: each module by its full name, with what is imported from
    it, if only that is. Also where a call of `import_module` or `__import__` has it as a literal."""
    nodes = list(ast.walk(tree))
    importers = set(IMPORTERS)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            importers |= {alias.asname for alias in node.names if alias.asname and alias.name in IMPORTERS}
            if origin := _absolute("." * node.level + (node.module or ""), package):
                yield from ((origin, alias.name) for alias in node.names)
    for node in nodes:
        if isinstance(node, ast.Call) and _name(node.func) in importers:
            name, anchor = _argument(node, 0, "name"), _argument(node, 1, "package")
            if name and (origin := _absolute(name, anchor or package)):
                yield origin, None


def _absolute(name: str, package: str) -> str | None:
    """The full name of a module; None for a relative one that leads out of all packages, which nothing can import."""
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:
        return None


def _name(node: ast.expr) -> str | None:
    """The last part of a dotted name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _argument(call: ast.Call, position: int, name: str) -> str | None:
    """An argument of a call, if it is given as literal text."""
    given = [*call.args[position : position + 1], *(word.value for word in call.keywords if word.arg == name)]
    return next((x.value for x in given if isinstance(x, ast.Constant) and isinstance(x.value, str)), None)


def _is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def _is_task(module: str, name: str) -> bool:
    # Where Luigi is not loaded, as in a server, there are no tasks.
    task = getattr(sys.modules.get("luigi"), "Task", ())
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, task)


def parse(path: Path, source: bytes) -> ast.Module:
    """The syntax of a source file; nothing of a compiled one. Raises StalenessError for what is no Python."""
    try:
        return ast.parse(source if path.suffix == ".py" else b"")
    except (SyntaxError, ValueError) as error:
        raise StalenessError(no_python(path, error)) from None


@functools.lru_cache(1024)
def trace(path: Path, source: bytes) -> CodeTrace:
    """Of what lies, or has lain, in a source file. Raises StalenessError if it cannot be parsed."""
    text = ast.dump(parse(path, source)).encode() if path.suffix == ".py" else source
    return {"bytes": hashlib.sha256(source).hexdigest(), "syntax": hashlib.sha256(text).hexdigest()}


def snapshot(files: Mapping[str, Path]) -> dict[str, CodeTrace]:
    """What source files are now."""
    return {name: trace(path, regular.read(path)) for name, path in files.items()}


def changed(
    recorded: Mapping[str, CodeTrace], code: Iterable[str], own: OwnClasses = NO_CLASSES
) -> str | None:
    """The first source file whose syntax differs, in words: comments and layout do not count.

    While no recorded byte has changed, neither have the imports, so nothing is parsed."""
    edited = _edited(_bytes(recorded))
    if not edited and {file[0] for file in map(modules.source_file, own) if file} <= recorded.keys():
        return None
    now = sources(code, own)
    for name, path in now.items():
        if name not in recorded or (
            name in edited and trace(path, regular.read(path))["syntax"] != recorded[name]["syntax"]
        ):
            return f"code of {name} changed"
    return next((f"code of {name} is gone" for name in recorded if name not in now), None)


def as_before(
    recorded: Mapping[str, CodeTrace], code: Collection[str], own: OwnClasses = NO_CLASSES
) -> dict[str, Path] | None:
    """As `sources`, by what it gave when these were recorded, if no byte of them has changed since: then neither have
    the imports, so nothing is parsed. None if it must be asked."""
    named = {*own, *code, *(module for name in code for module in modules.inside(name))}
    files = [file for file in map(modules.source_file, named) if file]
    if _edited(_bytes(recorded)) or not {name for name, _ in files} <= recorded.keys():
        return None
    found = map(modules.source_file, map(modules.module_of, recorded))
    return dict(file for file in found if file)


def _bytes(recorded: Mapping[str, CodeTrace]) -> tuple[tuple[str, str], ...]:
    return tuple((name, file["bytes"]) for name, file in recorded.items())


@once
def _edited(recorded: tuple[tuple[str, str], ...]) -> list[str]:
    """Of source files by name, with the SHA-256 of their bytes then, those that hold others: the same for many
    stages."""
    return [name for name, then in recorded if _sha256(name) != then]


@once
def _sha256(name: str) -> str | None:
    """Of the bytes of the source file of that name."""
    file = modules.source_file(modules.module_of(name))
    return sha256_if_there(file[1]) if file and file[0] == name else None
