"""What an output was made from, as plain data: snapshots of files, digests of code, versions of libraries."""

from __future__ import annotations

import ast
import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

#: Relative file name -> [size in bytes, mtime in ns, sha256].
Snapshot = dict[str, list[Any]]
UNREACHABLE = (FileNotFoundError, NotADirectoryError, PermissionError)
STAMP_KEYS = frozenset({"title", "parameters", "inputs", "reads", "code", "libraries", "because", "host", "started",
                        "finished", "summary", "files", "digest"})  # fmt: skip


def read_stamp(path: Path) -> dict[str, Any]:
    """Raises FileNotFoundError if there is none, ValueError if it is torn."""
    stamp = json.loads(path.read_bytes())
    if not isinstance(stamp, dict) or not stamp.keys() >= STAMP_KEYS:
        raise ValueError("it lacks parts")
    return stamp


def write_stamp(path: Path, stamp: Mapping[str, Any]) -> None:
    with path.open("w") as file:
        json.dump(stamp, file)
        file.flush()
        os.fsync(file.fileno())


def walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each file under a folder with its status, by relative name, or the file itself by its own name.

    Regular files, or links to such. Left out: what is hidden, folders behind a link (they may go in a circle), the
    stamp, and what cannot be reached, such as a file that has just vanished or a link to nowhere."""
    if path.is_file():
        with contextlib.suppress(FileNotFoundError):
            yield path.name, path.stat()
        return
    folders = [("", str(path))]
    while folders:
        prefix, folder = folders.pop()
        try:
            entries = os.scandir(folder)
        except UNREACHABLE:
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{entry.name}/", entry.path))
                elif (status := _regular(entry)) and (prefix or entry.name != "stamp.json"):
                    yield prefix + entry.name, status


def _regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        status = entry.stat()
    except UNREACHABLE:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_if_there(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except FileNotFoundError:
        return None


def snapshot(path: Path) -> Snapshot:
    """All files under a folder, or one file. What does not exist is an empty snapshot."""
    base = path.parent if path.is_file() else path
    found = ((name, s, _sha256_if_there(base / name)) for name, s in sorted(walk(path)))
    return {name: [s.st_size, s.st_mtime_ns, sha256] for name, s, sha256 in found if sha256}


def digest(files: Snapshot) -> str:
    """One digest for names and contents; not for times."""
    lines = "".join(f"{sha}  {name}\n" for name, (_, _, sha) in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_changed(what: str, recorded: Snapshot | None, path: Path) -> str | None:
    """The first difference between a snapshot and the disk, in words. Reads a file only if its size or time differ."""
    if recorded is None:
        return f"{what} is a new input"
    base = path.parent if path.is_file() else path

    def subject(name: str) -> str:
        return f"{what} file {name}" if path.is_dir() else what

    seen = set()
    for name, status in walk(path):
        known = recorded.get(name)
        if known is None:
            return f"{subject(name)} was added"
        seen.add(name)
        if (status.st_size, status.st_mtime_ns) != (known[0], known[1]) and (
            status.st_size != known[0] or _sha256_if_there(base / name) != known[2]
        ):
            return f"{subject(name)} was edited"
    return first(f"{subject(name)} is missing" for name in recorded if name not in seen)


def changed(what: str, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first difference between two small tables, in words: "parameter epochs: 4 -> 6"."""
    for name in sorted({*recorded, *now}):
        old, new = recorded.get(name), now.get(name)
        if old != new:
            return f"{what} {name}: {'none' if old is None else old} -> {'none' if new is None else new}"
    return None


def first(causes: Iterable[str | None]) -> str | None:
    return next((cause for cause in causes if cause), None)


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


def _source(name: str) -> Path:
    """Where the source file of that name lies now, as in "greenr_luigi/training.py"."""
    return _home(name.split("/")[0].removesuffix(".py")) / name


def _module_path(name: str) -> Path | None:
    """The source file of a module, or of a package's __init__, found without importing its parents."""
    base = _home(name.split(".")[0]).joinpath(*name.split("."))
    candidates = (base / "__init__.py", base.with_name(base.name + ".py"))
    return next((path for path in candidates if path.exists()), None)


def sources(own: str, code: Iterable[str]) -> list[str]:
    """The source files, by name as in "greenr_luigi/training.py", of the module `own` alone, and of the modules and
    whole packages in `code` with all that these import from their own top-level package, wherever they do so."""
    found = {own: _module_path(own)}
    todo = []
    for name in code:
        path = _module_path(name)
        if path is None:
            raise ModuleNotFoundError(f"no module {name!r}: mend the stage's `code`")
        todo.append(name)
        if path.name == "__init__.py":
            todo += [
                ".".join([name, *p.relative_to(path.parent).with_suffix("").parts])
                for p in path.parent.rglob("*.py")
            ]
    while todo:
        name = todo.pop()
        path = _module_path(name)
        if path is not None and name not in found:
            found[name] = path
            todo += _imports(path, name.split(".")[0])
            todo += [name.rpartition(".")[0]] if "." in name else []
    return sorted({str(path.relative_to(_home(name.split(".")[0]))) for name, path in found.items() if path})


def _imports(path: Path, package: str) -> list[str]:
    """Modules of `package` that a source file may import; names that are no modules among them."""
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == package]


def code_digests(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """By source file: the digest of its bytes and that of its syntax."""
    paths = {name: _source(name) for name in names}
    return {name: {"bytes": file_sha256(path), "syntax": _syntax(path)} for name, path in paths.items()}


def code_changed(recorded: Mapping[str, Mapping[str, str]], own: str, code: Iterable[str]) -> str | None:
    """The first source file whose syntax differs: comments and layout do not count. While no recorded byte has
    changed, nor have the imports in them, so nothing is parsed."""
    edited = [name for name in recorded if _sha256_if_there(_source(name)) != recorded[name]["bytes"]]
    if edited:
        now = sources(own, code)
        for name in now:
            if name not in recorded or (
                name in edited and _syntax(_source(name)) != recorded[name]["syntax"]
            ):
                return f"code of {name} changed"
        return first(f"code of {name} is gone" for name in recorded if name not in now)
    return None


def _syntax(path: Path) -> str:
    return hashlib.sha256(ast.dump(ast.parse(path.read_bytes())).encode()).hexdigest()
