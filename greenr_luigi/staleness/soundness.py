"""What must hold of a stage, or nobody can know whether it is stale. Told before any work, not after it."""

from __future__ import annotations

import collections
import inspect
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from . import code, requirements
from .errors import StalenessError
from .memo import once

if TYPE_CHECKING:
    from .stage import Stage


def check(stage: Stage) -> None:
    """Raises StalenessError with the first that does not hold, and the remedy."""
    if words := next(_faults(stage), None):
        raise StalenessError(f"{stage.title}: {words}")


def _faults(stage: Stage) -> Iterator[str]:
    from .stage import Stage

    kind = type(stage)
    if words := _fault_of(kind):
        yield words
    for name in ("code", "libraries", "notes", "uses_notes"):
        value = getattr(stage, name) if name != "uses_notes" else stage.uses_notes or ()
        if isinstance(value, str):
            yield f"its `{name}` is text: write ({value!r},)"
        elif not isinstance(value, Collection) or not all(isinstance(each, str) for each in value):
            yield f"its `{name}` is {value!r}: expected names, as in ('numpy',)"
    required = {task.output_folder: task for task in requirements.required(stage) if isinstance(task, Stage)}
    for title, count in collections.Counter(str(task.title) for task in required.values()).items():
        if count > 1:
            yield f"it requires {count} stages with the title {title}: give each a `title` of its own"
    for name, count in collections.Counter(task.task_id for task in required.values()).items():
        if count > 1:
            yield (
                f"it requires {count} stages that Luigi takes for one, {name}, as hidden and private parameters "
                "tell no tasks apart: make those public that differ"
            )
    if words := _why_not_traceable((*stage.own_classes(), *stage.code)):
        yield words


_why_not_traceable = once(code.why_not_traceable)


@once
def _fault_of(kind: type[Stage]) -> str | None:
    """The first that is wrong with all stages of a class, of which there may be thousands."""
    from .stage import Stage

    if inspect.isgeneratorfunction(kind.work) or inspect.iscoroutinefunction(kind.work):
        return (
            "its `work` yields or awaits, so that Python would not run it: name in `requires` what it needs"
        )
    try:
        inspect.signature(kind.work).bind("self", "out")
    except TypeError as error:
        return f"its `work` cannot be called ({error}): it takes `self` and `out`, the folder to fill"
    family = kind.get_task_family()
    for other in _below(Stage):
        # A module that was loaded again has left its earlier classes behind.
        is_there = getattr(sys.modules.get(other.__module__), other.__name__, None) is other
        related = issubclass(other, kind) or issubclass(kind, other)
        if (
            is_there
            and not related
            and other.get_task_family() == family
            and other.__module__ != kind.__module__
        ):
            return (
                f"{other.__module__} has a {family}, too, and both would have the same folders: rename one, or give it "
                "a `task_namespace`"
            )
    return None


def _below(kind: type[Stage]) -> Iterator[type[Stage]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
