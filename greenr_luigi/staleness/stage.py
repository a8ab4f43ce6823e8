"""A Luigi task that knows when it is stale, and why.

Luigi calls a task complete when its output exists. A `Stage` is complete when its output is what a run now would
make, by the verifying traces of *Build Systems a la Carte* (Mokhov, Mitchell, Peyton Jones, ICFP 2018): next to
its output lies a stamp that records what it was made from, and the stage is complete while all that still holds."""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import hashlib
import json
import logging
import shlex
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import luigi

from greenr_luigi.staleness import traces
from greenr_luigi.staleness.errors import StalenessError
from greenr_luigi.staleness.memo import Looks
from greenr_luigi.staleness.output_folder import lock, made

logger = logging.getLogger("luigi-interface")

STARTED = time.time()
STAMP = "stamp.json"
#: What a person can mend, said in place of a bare errno.
REMEDIES = {
    "ENOSPC": "the disk is full: free some space (`greenr prune` removes outputs of earlier parameters)",
    "EDQUOT": "the disk quota is used up: free some space (`greenr prune` removes outputs of earlier parameters)",
    "EROFS": "the file system is read-only: choose another --root",
    "EACCES": "no permission to write there: choose another --root or mend its permissions",
}
#: Said only where the folder of the outputs cannot be made: a file that `work` misses is another matter.
NO_FOLDER = dict.fromkeys(
    ("ENOENT", "ENOTDIR", "EEXIST"), "no folder can be made there: choose another --root or make it a folder"
)


_looks = Looks()
forget = _looks.forget


class SettingError(SystemExit):
    """A setting that cannot be meant; ends the program with its message alone, for no traceback would help."""


class Stages(luigi.Parameter[tuple[str, ...]]):
    """Names of stages with commas between them."""

    def parse(self, text: str) -> tuple[str, ...]:
        return self.normalize(name for name in text.split(",") if name)

    def normalize(self, value: Iterable[str]) -> tuple[str, ...]:
        known = luigi.task_register.Register.task_names()
        for name in (names := tuple(value)):
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, 0.5)
                meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
                raise SettingError(f"--force {name}: there is no such stage; {meant}")
        return names

    def serialize(self, value: Iterable[str]) -> str:
        return ",".join(value)


class FolderParameter(luigi.PathParameter):
    """A folder, made absolute; `~` is a home, as in a shell, which expands none in luigi.cfg or behind `=`."""

    def normalize(self, x: Any) -> Path:
        try:
            return Path(x).expanduser().absolute()
        except RuntimeError:
            raise SettingError(f"{x}: there is no such user; write the path in full, from / on") from None


class Stage(luigi.Task):
    """A task whose output is one folder, made whole by `work`, with a stamp that says what it was made from."""

    #: What it raises where a person can mend something.
    error: ClassVar[type[Exception]] = StalenessError

    #: Why it runs, which luigid shows below whatever it is doing.
    _because = ""

    root = FolderParameter(description="Folder for everything that the pipeline writes.")
    force = Stages(
        default=(),
        significant=False,
        description="Stages to run although they are complete: TrainModel,ExportModel.",
    )

    # What a stage may say of itself. The first two are plain attributes of a class where they do not depend on
    # parameters.

    @property
    def code(self) -> tuple[str, ...]:
        """Modules and packages whose code shapes the output, all that they import from their own top-level package
        included; the module that defines the stage is always one."""
        return ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Installed distributions whose version shapes the output."""
        return ()

    def work(self, out: Path) -> Mapping[str, object] | None:
        """Fill the empty folder `out`; may return a short summary for people, such as {"pictures": 300}."""
        raise NotImplementedError

    def reads(self) -> Mapping[str, Path]:
        """Files and folders from outside the graph that shape the output, by the name to call them."""
        return {}

    def outside_cause(self, stamp: Mapping[str, Any]) -> str | None:
        """A cause that no file shows, such as age, in words; None if there is none."""
        return None

    @property
    def title(self) -> str:
        """What to call this stage among others of its graph."""
        return str(self.task_family)

    @property
    def command(self) -> str:
        """The line that makes this output again, under whatever root."""
        given = {name: value for name, value in self.parameters.items() if value}
        return command_line(type(self).__module__.split(".")[0], self.task_family, given)

    # Where the output lies

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that shape the output. Not the root: a data folder may be moved."""
        return {k: v for k, v in self.to_str_params(only_significant=True).items() if k != "root"}

    @property
    def output_folder(self) -> Path:
        """The output folder, known from the parameters alone: going back to earlier ones finds the earlier work."""
        text = json.dumps(self.parameters, sort_keys=True)
        return Path(self.root, self.task_family, hashlib.sha256(text.encode()).hexdigest()[:12])

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(str(self.output_folder / STAMP))

    def stamp(self) -> dict[str, Any]:
        """What this output was made from. Raises FileNotFoundError, or ValueError for a torn one."""
        return traces.read_stamp(self.output_folder / STAMP)

    def inputs(self) -> dict[str, Stage]:
        return {task.title: task for task in luigi.task.flatten(self.requires())}

    # Whether it is stale

    def complete(self) -> bool:
        return self.stale_because() is None

    def stale_because(self) -> str | None:
        """The first cause to run again, in words; None if the output is what a run would make now."""
        return _looks.at((type(self), tuple(self.param_kwargs.items())), self._look)

    def _look(self) -> str | None:
        try:
            stamp = self.stamp()
        except (FileNotFoundError, NotADirectoryError):
            return self._why_no_output()
        except ValueError as error:
            return f"its stamp cannot be read ({error})"
        if self.task_family in self.force and stamp["finished"] < STARTED:
            return f"asked for: --force {self.task_family}"
        return (
            traces.changed("parameter", stamp["parameters"], self.parameters)
            or traces.changed("version of", stamp["libraries"], traces.versions(self.libraries))
            or traces.code_changed(stamp["code"], type(self).__module__, self.code)
            or self._inputs_changed(stamp["inputs"])
            or traces.first(
                traces.files_changed(name, stamp["reads"].get(name), path)
                for name, path in self.reads().items()
            )
            or traces.files_changed("output", stamp["files"], self.output_folder)
            or self.outside_cause(stamp)
        )

    def _why_no_output(self) -> str:
        """No output at this place: if the stage has run with other parameters, say which one is new."""
        stamps = []
        for place in self.output_folder.parent.glob("*"):
            if place.is_symlink():
                with contextlib.suppress(ValueError, FileNotFoundError):
                    stamps.append(traces.read_stamp(place / STAMP))
        mine = [stamp for stamp in stamps if stamp["title"] == self.title]
        latest = max(mine, key=lambda stamp: float(stamp["finished"]), default=None)
        return (
            latest and traces.changed("parameter", latest["parameters"], self.parameters)
        ) or "no output yet"

    def _inputs_changed(self, recorded: Mapping[str, Any]) -> str | None:
        inputs = self.inputs()
        if gone := [name for name in recorded if name not in inputs]:
            return f"input {gone[0]} is no longer required"
        for name, task in inputs.items():
            if cause := task.stale_because():
                return f"input {name} is stale: {cause}"
            stamp = task.stamp()
            if name not in recorded:
                return f"input {name} is new"
            if stamp["digest"] != recorded[name]["digest"]:
                what = (
                    traces.changed("", recorded[name]["summary"], stamp["summary"])
                    or "other content, same counts"
                )
                return f"input {name} changed: {what.strip()}"
        return None

    # Making it again

    def run(self) -> None:
        forget()
        try:
            with self._held():
                if cause := self.stale_because():
                    self.tell(f"{self.title} runs: {cause}")
                    self._because = f"\nruns: {cause}"
                    self._make(cause)
                else:
                    self.tell(
                        f"{self.title} is up to date: what came before it came out the same, or another run did it"
                    )
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            where = Path(error.filename or self.output_folder)
            if name == "EACCES" and not where.is_relative_to(self.root):
                raise self.error(
                    f"{self.title} cannot read {where}: no permission; mend its permissions, or leave it out"
                ) from error
            if remedy := REMEDIES.get(name) or (
                not self.output_folder.parent.is_dir() and NO_FOLDER.get(name)
            ):
                raise self.error(f"{self.title} cannot write {where}: {remedy}") from error
            raise
        finally:
            forget()

    def _make(self, cause: str) -> None:
        """Work in a folder beside the place, stamp it, and let the place, a symbolic link, point to it at once."""
        inputs = {name: task.stamp() for name, task in self.inputs().items()}
        stamp: dict[str, Any] = {
            "title": self.title,
            "parameters": self.parameters,
            "inputs": {name: {"digest": s["digest"], "summary": s["summary"]} for name, s in inputs.items()},
            "reads": {name: traces.snapshot(path) for name, path in self.reads().items()},
            "code": traces.code_digests(traces.sources(type(self).__module__, self.code)),
            "libraries": traces.versions(self.libraries),
            "because": cause,
            "host": socket.gethostname(),
            "started": time.time(),
        }
        with made(self.output_folder) as out:
            stamp["summary"] = dict(self.work(out) or {})
            stamp["files"] = traces.snapshot(out)
            if not stamp["files"]:
                raise self.error(f"{self.title} wrote nothing to {out}: `work` must leave at least one file")
            stamp["digest"] = traces.digest(stamp["files"])
            stamp["finished"] = time.time()
            traces.write_stamp(out / STAMP, stamp)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody else makes this output, nor replaces an input, meanwhile. Locks go upstream, so none can wait in
        a circle."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(self.output_folder, fcntl.LOCK_EX, self._waits))
            for task in self.inputs().values():
                stack.enter_context(lock(task.output_folder, fcntl.LOCK_SH, self._waits))
            yield

    def _waits(self, holder: str) -> None:
        self.tell(f"{self.title} waits for another run: {holder}")

    # Telling people

    def tell(self, words: str, fraction: float | None = None) -> None:
        """Say where the work stands, in the log and in luigid. `fraction`: from 0 to 1."""
        percent = None if fraction is None else round(100 * fraction)
        logger.info("%s%s", "" if percent is None else f"{self.title} {percent:3d} %  ", words)
        # Luigi lends a task these two for as long as it runs.
        if callback := getattr(self, "set_status_message", None):
            callback(words + self._because)
        if percent is not None and (callback := getattr(self, "set_progress_percentage", None)):
            callback(percent)

    def on_progress(self) -> Callable[[float, str], None]:
        """A callback for plain functions that know no Luigi; passes on at most one message a second."""
        last = 0.0

        def progress(fraction: float, words: str) -> None:
            nonlocal last
            if fraction >= 1 or time.monotonic() - last > 1:
                last = time.monotonic()
                self.tell(words, fraction)

        return progress


def command_line(package: str, family: str, parameters: Mapping[str, str]) -> str:
    """What to type to run a stage with these parameters."""
    # What begins with a dash would be taken for an option.
    options = [
        f"--{name.replace('_', '-')}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"
        for name, value in parameters.items()
    ]
    return " ".join([f"luigi --module {package} {family} --local-scheduler", *options])
