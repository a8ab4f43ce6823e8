"""The scheduler's state on the disk. Luigi writes it when luigid ends well, and in place; here it is written while it
changes, whole or not at all, so that little is lost of it when the process is killed."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

from luigi.scheduler import SimpleTaskState

from greenr_luigi import files
from greenr_luigi.staleness import regular

log = logging.getLogger("greenr")
#: Bytes of the checksum before a state.
SEAL = 32
#: What a state is made of. Whoever could write the file must not have us run anything.
KINDS = {
    ("luigi.scheduler", "Task"),
    ("luigi.scheduler", "Worker"),
    ("luigi.scheduler", "OrderedSet"),
    ("luigi.scheduler", "RetryPolicy"),
    ("luigi.parameter", "ParameterVisibility"),
    ("collections", "deque"),
    ("collections", "OrderedDict"),
    ("builtins", "set"),
}


class SavedState(SimpleTaskState):
    """Luigi's state of tasks and workers. `path`: where it is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))  # type: ignore[no-untyped-call]
        self.path = path
        self.saved = b""

    def dump(self) -> None:
        """Write what is not written yet; at a full disk, the last whole state stays."""
        data = sealed(pickle.dumps(self.get_state()))  # type: ignore[no-untyped-call]
        if data != self.saved:
            try:
                files.write(self.path, data)
            except OSError as error:
                log.warning("the state is not saved: %s", error)
            else:
                self.saved = data

    def load(self) -> None:
        """Read what was written. What is no state, such as that of another version of Luigi, counts as none."""
        try:
            data = regular.read(self.path)
            pickled = data[SEAL:]
            # Before it is unpickled: what is damaged could ask for any amount of memory.
            if sealed(pickled) != data:
                raise pickle.UnpicklingError("it is damaged")
            self.set_state(_Reader(io.BytesIO(pickled)).load())  # type: ignore[no-untyped-call]
            for task in self._tasks.values():
                self._status_tasks[task.status][task.id] = task
        except FileNotFoundError:
            return
        except (
            OSError,
            pickle.UnpicklingError,
            EOFError,
            AttributeError,
            ValueError,
            TypeError,
            IndexError,
        ) as error:
            log.warning("begins without a state: %s cannot be read (%s)", self.path, error)
            self.set_state(({}, {}, {}))  # type: ignore[no-untyped-call]
            self._status_tasks.clear()


def sealed(pickled: bytes) -> bytes:
    """With a checksum before it."""
    return hashlib.sha256(pickled).digest() + pickled


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KINDS:
            raise pickle.UnpicklingError(f"{module}.{name} belongs to no state")
        return super().find_class(module, name)
