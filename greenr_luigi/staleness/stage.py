"""A Luigi task that knows when it is stale, and why.

Luigi calls a task complete when its output exists. A `Stage` is complete when its output is what a run now would
make, by the verifying traces of *Build Systems a la Carte* (Mokhov, Mitchell, Peyton Jones, ICFP 2018): beside
its output lies a stamp that records what it was made from, and the stage is complete while all that still holds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import luigi

from . import (
    data_root,
    errors,
    examination,
    forced,
    loaded,
    locks,
    making,
    parameters,
    reads,
    requirements,
    traces,
)
from .listing import Part, Said
from .memo import Memo
from .parameters import NamesParameter
from .stamp import Stamp
from .telling import Telling

_memo = Memo()
forget, one_question = _memo.forget, _memo.one_question


class Stage(Telling, parameters.KnownParameters):
    """A task whose output is one folder, filled by `work`, with a stamp that says what it was made from."""

    root = luigi.PathParameter(default=Path("data"), absolute=True, description="Folder for all outputs.")
    force = NamesParameter(
        default=(), significant=False, description="Stages to run although they are complete, with commas."
    )

    #: What it raises where a person can mend something.
    error: ClassVar[type[Exception]] = errors.StalenessError
    #: What to do about a failure to write, by errno.
    remedies: ClassVar[Mapping[int, str]] = errors.REMEDIES
    #: When Luigi scheduled the last build, which may be under way, in seconds since 1970; before the first, the import.
    build_began: ClassVar[float] = time.time()
    #: What the last `run` did: nothing, where the output was up to date.
    did: Literal["made", "taken"] | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.note_loaded_code(cls.code if isinstance(cls.code, tuple) else ())

    @classmethod
    def note_loaded_code(cls, code: Iterable[str]) -> None:
        loaded.note({module.split(".")[0] for module in (*cls.own_classes(), *code)})

    @classmethod
    def own_classes(cls) -> dict[str, set[str]]:
        """By module, the classes that make the stage: itself, and what it inherits from classes in its own top-level
        package, or inherits its `work` from."""
        package, own = cls.__module__.split(".")[0], dict[str, set[str]]()
        for kind in cls.__mro__:
            if kind not in Stage.__mro__ and (
                kind.__module__.split(".")[0] == package or "work" in vars(kind)
            ):
                own.setdefault(kind.__module__, set()).add(kind.__name__)
        return own

    # What a stage says of itself. `code` and `libraries` are plain attributes where they depend on no parameter.

    def work(self, out: Path) -> Mapping[str, object] | None:
        """Fill the empty folder `out`; may return a short summary for people, such as {"pictures": 300}."""
        raise NotImplementedError

    @property
    def code(self) -> tuple[str, ...]:
        """Modules and packages whose code shapes the output, all that they import from their own top-level package
        included. Of the module that defines the stage, its own file always does."""
        return ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Installed distributions whose version shapes the output, beside those that the code imports: what another
        library loads by itself, or what is run as a command."""
        return ()

    def reads(self) -> Mapping[str, Path | Part | Said]:
        """Files and folders from outside the graph that shape the output, a part of a folder's files, or what is said
        of them, by the name to call them."""
        return {}

    def outside_cause(self, stamp: Stamp) -> str | None:
        """A cause to run again that no file shows, such as age, in words; None if there is none."""
        return None

    #: Of the parameters that it shares with the stages that it requires, those that `work` uses itself. The others
    #: count only by the outputs of those stages: where these come out the same, an output of this stage that was made
    #: from the same is taken over. None: each counts by itself, and no output is taken, as it must be where `work` does
    #: more than fill its folder.
    uses_inherited: ClassVar[Collection[str] | None] = None

    #: What of the summary is for programs: no cause names it.
    unsaid: ClassVar[Collection[str]] = ()

    #: Files of the output, relative to it, that only tell about the rest: where it came from, what was left out.
    notes: ClassVar[Collection[str]] = ()
    #: Of the notes of the stages that it requires, those that `work` reads: the others make it never stale. None: all.
    uses_notes: ClassVar[Collection[str] | None] = None

    @property
    def patience(self) -> float:
        """Seconds that a run waits for another one."""
        return locks.PATIENCE

    # Where the output lies

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that shape the output. Not the root: a data folder may be moved. Of a private one, which Luigi
        shows nobody, a digest."""
        kinds = dict(self.get_params())
        return {
            name: parameters.recorded(kinds[name], value)
            for name, value in self.param_kwargs.items()
            if kinds[name].significant and name != "root"
        }

    @property
    def output_folder(self) -> Path:
        """Known from the parameters alone: going back to earlier ones finds the earlier output."""
        return Path(self.root, self.task_family, self._key)

    @functools.cached_property
    def _key(self) -> str:
        return parameters.digest(json.dumps(self.parameters, sort_keys=True))

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(self.output_folder / traces.STAMP))

    def stamp(self) -> Stamp:
        """What the output was made from. Raises FileNotFoundError if there is none, StampError for a torn one."""
        return Stamp.read(self.output_folder)

    def inputs(self) -> dict[str, Stage]:
        """The required stages by title."""
        return {str(task.title): task for task in requirements.required(self) if isinstance(task, Stage)}

    def all_reads(self) -> dict[str, traces.Read]:
        """What the stage reads from outside of the graph of stages, local files of plain Luigi tasks among it."""
        plain = [task for task in requirements.required(self) if not isinstance(task, Stage)]
        return reads.checked(self.title, self.reads(), requirements.local_files(plain))

    # Whether it is stale

    def initialized(self) -> bool:
        """Luigi asks so of each task that it schedules, before it asks that and any below it whether it is complete. A
        build begins, maybe not the first one in this process."""
        Stage.build_began = time.time()
        if self.force:
            forced.note(requirements.run_order(self))
        return bool(super().initialized())  # type: ignore[no-untyped-call]

    def complete(self) -> bool:
        """Luigi asks at the beginning of a run, in the process that lives as long as that."""
        with contextlib.suppress(OSError):  # `run` says what stands in the way.
            data_root.mark(Path(self.root))
            data_root.hold(Path(self.root), self.tell, self.patience)
        return self.stale_because() is None

    def stale_because(self) -> str | None:
        """The first cause to run again, in words; None if the output is what a run would make now."""
        with self._errors_of_its_own("read"):
            return _memo.answer(self._asked, self._examine)

    @property
    def _asked(self) -> Hashable:
        """What an answer is remembered by."""
        return type(self), tuple(self.param_kwargs.items())

    def _examine(self) -> str | None:
        return examination.examine(self, was_asked_for=forced.must_run(self))

    @contextlib.contextmanager
    def _errors_of_its_own(self, verb: str = "write") -> Iterator[None]:
        """Raises `error` for what a person can mend. `verb`: what a stage does with files meanwhile."""
        try:
            yield
        except errors.StalenessError as error:
            if isinstance(error, self.error):
                raise
            raise self.error(str(error)) from None
        except OSError as error:
            told = errors.explain(error, self.output_folder, Path(self.root), self.remedies, verb)
            if told is None:
                raise
            raise self.error(f"{self.title} {told}") from error

    # Making it again

    def run(self) -> None:
        """Make the output, if it is stale still: what came before may have come out the same, and another run may have
        made it."""
        forget(self._asked)
        try:
            with self._errors_of_its_own():
                making.make_if_stale(self)
        finally:
            forget()

    def accept(self) -> list[str]:
        """Let the output count as made from what there is now, without a rerun, as `dvc commit` does: a person may know
        that an edit changes nothing. Returns what differs; the stamp keeps that, too.

        That an input is stale itself, or a cause that no file shows, remains. Raises `error` if there is no output of
        these parameters, or a damaged one, or while a run works on it."""
        try:
            with self._errors_of_its_own():
                return making.accept(self)
        finally:
            forget()
