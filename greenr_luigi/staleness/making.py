"""Makes the output of a stage, takes over one that was made from the same, or accepts the one that there is."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import code, data_root, errors, examination, libraries, loaded, numbers, requirements, traces
from .memo import question
from .output_folder import EARLIER, atomic_folder, copy_output, lock
from .stamp import Stamp, Trace
from .summary import summary_of

if TYPE_CHECKING:
    from .stage import Stage


class Code(NamedTuple):
    """As a Trace has it."""

    code: Mapping[str, code.CodeTrace]
    libraries: Mapping[str, str | None]


def make_if_stale(stage: Stage) -> None:
    """Give a stage the output that it would have now, unless it has it. Its root becomes a data root."""
    data_root.mark(Path(stage.root))
    if words := data_root.why_not_ours(Path(stage.root)):
        raise stage.error(words)
    with _locks(stage, stage.tell):
        stage.did = None
        if not (cause := stage.stale_because()):
            stage.tell(f"{stage.title} is up to date: its inputs came out the same, or another run made it")
        elif _take(stage, cause):
            stage.did = "taken"
        else:
            stage.tell(f"{stage.title} runs: {cause}")
            stage.because = f"\nruns: {cause}"
            _make(stage, cause)
            stage.did = "made"


def _take(stage: Stage, cause: str) -> bool:
    """Take over an earlier output, or one of other inherited parameters, that was made from the same as this one would
    be now, if there is one: a *constructive trace*, by the same paper. Not where the stage was asked for by name. What
    was accepted for other parameters counts for those only."""
    may_take = stage.uses_inherited is not None and stage.task_family not in stage.force
    others = examination.outputs_like(stage) if may_take else {}
    for other, stamp in others.items():
        if other == stage.output_folder:
            continue
        # Whoever waited here for another's output, while that one waited for this, would wait for ever.
        busy_or_gone = (BlockingIOError, FileNotFoundError, errors.StampError)
        with contextlib.suppress(*busy_or_gone), lock(other, fcntl.LOCK_SH, _do_not_wait):
            made = stamp.before_accepted()
            if Stamp.read(other) == stamp and examination.changed_since(stage, made, other) is None:
                stage.tell(f"{stage.title} takes {other.name}, made from the same: {cause}")
                with atomic_folder(stage.output_folder, partial(_keep, stage)) as out:
                    copy_output(other.resolve(), out, without=traces.STAMP)
                    because = f"{cause}; {other.name} was made from the same"
                    taken = replace(made, parameters=stage.parameters, because=because)
                    taken.number, taken.finished = numbers.following(Path(stage.root)), time.time()
                    taken.write(out)
                return True
    return False


def _keep(stage: Stage, replaced: Path) -> None:
    """Keep the folder of an output that was just replaced, until the next one is: going back to what it was made from
    then takes it. Where it is damaged, it is not kept."""
    if stage.uses_inherited is None:
        return
    earlier = stage.output_folder.with_name(f"{EARLIER}{stage.output_folder.name}")
    not_possible = (OSError, errors.StampError)
    with contextlib.suppress(*not_possible), lock(earlier, fcntl.LOCK_EX, _do_not_wait):
        if not traces.files_changed("output", Stamp.read(replaced).files, replaced):
            with atomic_folder(earlier) as kept:
                replaced.rename(kept)


def _do_not_wait(holder: str) -> None:
    raise BlockingIOError(holder)


def _make(stage: Stage, cause: str) -> None:
    started = time.time()
    stage.note_loaded_code(stage.code)
    with question():
        modules, made_by = _code_of(stage)
        changed_meanwhile = _watch(stage, modules)
        trace = _trace_of(stage, made_by, requirements.known_reads(stage))
    edited = loaded.edited(trace.code)
    if words := f"{edited} was edited" if edited else libraries.upgraded(trace.libraries):
        error = stage.error(
            f"{stage.title}: {words} after this process had loaded it: start a new process, which runs it"
        )
        # Whoever runs it may do that by itself.
        vars(error)["passing"] = True
        raise error
    if stale := loaded.stale_bytecode(modules):
        raise stage.error(
            f"{stage.title}: Python takes the bytecode {stale[1]} for that of {stale[0]}, but it is of other code: "
            "delete it and start a new process"
        )
    told = errors.full_disk_told(stage.output_folder)
    with atomic_folder(stage.output_folder, partial(_keep, stage)) as out, told:
        summary = summary_of(stage.work(out))
        if (out / traces.STAMP).exists():
            raise stage.error(
                f"{stage.title} wrote a file {traces.STAMP}, where its stamp goes: let `work` give it another name"
            )
        # Of one without links there is nothing to look up among all files that the stage has read.
        known = requirements.known_files(stage) if traces.has_links(out) else {}
        files = traces.snapshot(out, known)
        if not files or not out.is_dir():
            raise stage.error(
                f"{stage.title} wrote nothing to {out}: `work` must leave at least one file in it"
            )
        if meanwhile := changed_meanwhile():
            stage.tell(f"{stage.title} runs again the next time: {meanwhile}")
            trace.changed_meanwhile = meanwhile
        Stamp(
            **vars(trace),
            title=str(stage.title),
            because=cause,
            host=socket.gethostname(),
            started=started,
            finished=time.time(),
            summary=summary,
            files=files,
            digest=traces.digest(files),
            number=numbers.following(Path(stage.root)),
        ).write(out)


def _code_of(stage: Stage) -> tuple[dict[str, Path], Code]:
    """The source files that shape an output, by name; and what they and the libraries are now: as its stamp has it,
    where that still holds. Nothing of that is trusted for a stage that was asked for by name."""
    own = stage.own_classes()
    before = None if stage.task_family in stage.force else Stamp.if_any(stage.output_folder)
    files = before and code.as_before(before.code, stage.code, own)
    if before and files and libraries.versions({*before.libraries, *stage.libraries}) == before.libraries:
        return files, Code(before.code, before.libraries)
    files = code.sources(stage.code, own)
    versions = libraries.versions({*libraries.imported(files), *stage.libraries})
    return files, Code(code.snapshot(files), versions)


def _trace_of(stage: Stage, made_by: Code, known: traces.Known) -> Trace:
    """What an output would be made from now. `known`: of files that it reads."""
    return Trace(
        parameters=stage.parameters,
        inputs={
            name: requirements.as_input(stage, task, _made(stage, task))
            for name, task in stage.inputs().items()
        },
        reads={name: traces.snapshot(path, known) for name, path in stage.all_reads().items()},
        **made_by._asdict(),
    )


def _made(stage: Stage, required: Stage) -> Stamp:
    """The stamp of a stage that another one requires."""
    try:
        return required.stamp()
    except (FileNotFoundError, NotADirectoryError, errors.StampError) as error:
        raise stage.error(
            f"{stage.title} requires {required.title}, which has no output: run that first"
        ) from error


def accept(stage: Stage) -> list[str]:
    """Let the output count as made from what there is now; Stage.accept says more."""
    try:
        # Where there is no output, a lock would make a folder.
        if not stage.output_folder.exists():
            why = examination.why_no_output(stage)
            raise stage.error(
                f"{stage.title} has no output of these parameters to accept ({why}): give those of the run"
            )
        stage.stamp()
        for required in stage.inputs().values():
            _made(stage, required)
        with _locks(stage, _do_not_wait):
            stamp, trace = stage.stamp(), _trace_of(stage, _code_of(stage)[1], {})
            damage = traces.files_changed("output", stamp.files, stage.output_folder)
            made = stamp.before_accepted()
            differences = stamp.differences(trace) and made.differences(trace)
            if differences and not damage:
                as_made = Trace(**{each.name: getattr(made, each.name) for each in fields(Trace)})
                now = replace(stamp, **vars(trace), accepted=differences, as_made=as_made)
                now.write(stage.output_folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        damage = f"{error.filename} is missing"
    except errors.StampError as error:
        damage = str(error)
    except BlockingIOError as error:
        raise stage.error(f"{stage.title} cannot be accepted now: it {error}") from None
    if damage:
        raise stage.error(f"{stage.title} cannot be accepted: {damage}; run it")
    return differences


def _watch(stage: Stage, modules: Mapping[str, Path]) -> Callable[[], str | None]:
    """A function that tells, when the work is done, what of all that shapes the output has changed since now."""
    inputs = {f"output of {name}": task.output_folder for name, task in stage.inputs().items()}
    # What is loaded by now is what will run, whatever becomes of its file.
    watched = {**inputs, **stage.all_reads(), **loaded.note_unloaded(modules)}
    before = {what: traces.glance(path) for what, path in watched.items()}

    def changed_meanwhile() -> str | None:
        changed = (what for what, path in watched.items() if traces.glance(path) != before[what])
        return next((f"{what} changed while it ran" for what in changed), None)

    return changed_meanwhile


@contextlib.contextmanager
def _locks(stage: Stage, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Nobody else makes this output, nor replaces an input, meanwhile; nobody deletes anything until this process ends.
    Each stage locks its own output first and its inputs' after that, so no two can wait for each other."""
    data_root.hold(Path(stage.root), on_wait, stage.patience)
    wanted = [(stage, fcntl.LOCK_EX), *((task, fcntl.LOCK_SH) for task in stage.inputs().values())]
    with contextlib.ExitStack() as held:
        for task, kind in wanted:
            held.enter_context(lock(task.output_folder, kind, on_wait, stage.patience))
        yield
