"""The source of modules as this process has loaded it: that is what runs, whatever lies on disk by now."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
from collections.abc import Collection, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path

from . import code, modules, regular
from .listing import SETTLED_NS
from .traces import file_sha256

#: By module: where it was loaded from, which is another object after a reload, and what lay there then. None for a
#: module that was not loaded when its source was taken down.
_sources: dict[str, tuple[ModuleSpec | None, bytes]] = {}


def note(packages: Collection[str]) -> None:
    """Take down the sources of what is loaded of the projects of some top-level packages. To be called early: an edit
    between the loading of a module and the first call after it is not seen."""
    # Of thousands of names, a few are of ours. Taken at once, since other threads import meanwhile.
    names = [*sys.modules]
    tops = [name for name in names if "." not in name]
    ours = {top for top in tops if any(modules.is_of_one_project(package, top) for package in packages)}
    below = tuple(f"{top}." for top in ours)
    for name in names:
        if name not in ours and not name.startswith(below):
            continue
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec and spec.has_location:
            noted, source = _sources.get(name, (None, None))
            if source is None or (noted is not None and noted is not spec):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    source = regular.read(Path(spec.origin))
            if source is not None:
                _sources[name] = spec, source


def note_unloaded(files: Mapping[str, Path]) -> dict[str, Path]:
    """Take down the sources, by name, of modules that are not loaded yet, and return these."""
    unloaded = {name: path for name, path in files.items() if modules.module_of(name) not in sys.modules}
    for name, path in unloaded.items():
        _sources[modules.module_of(name)] = None, regular.read(path)
    return unloaded


def edited(recorded: Mapping[str, code.CodeTrace]) -> str | None:
    """The first source file that was something else when this process loaded it. Comments and layout do not count."""
    for name, trace in recorded.items():
        spec, source = _sources.get(modules.module_of(name), (None, b""))
        if spec and hashlib.sha256(source).hexdigest() != trace["bytes"]:
            as_loaded = code.trace(Path(str(spec.origin)), source)
            if as_loaded["syntax"] != trace["syntax"]:
                return name
    return None


class _Reader(SourceFileLoader):
    """Finds the code of a module as an import does, but leaves no bytecode behind."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        pass


def stale_bytecode(files: Mapping[str, Path]) -> tuple[str, Path] | None:
    """The first source file, by name, in place of which Python runs bytecode of other code, and that bytecode. Python
    takes bytecode for that of a source if it tells the same size and time, in whole seconds."""
    for name, path in files.items():
        if path.suffix == ".py" and _is_shadowed(path, file_sha256(path)):
            return name, Path(cache_from_source(str(path)))
    return None


@functools.cache
def _is_shadowed(path: Path, sha256: str) -> bool:
    # Remembered for each content of the file: what is loaded stays so, even when the bytecode has been deleted.
    try:
        bytecode = Path(cache_from_source(str(path))).stat()
    except FileNotFoundError:
        return False
    # Compiled after the last change of whatever kind, a new name included, which no program can set back: to compile
    # each source again takes longer than all else that is looked at. Elsewhere it may be of another file of that name.
    if not sys.pycache_prefix and bytecode.st_mtime_ns - path.stat().st_ctime_ns > SETTLED_NS:
        return False
    reader = _Reader("", str(path))
    return bool(reader.get_code("") != reader.source_to_code(regular.read(path), str(path)))
