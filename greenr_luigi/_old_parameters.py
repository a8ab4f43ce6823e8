"""Parameters of every stage. To be replaced by parameters.py."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import luigi

from greenr_luigi.staleness.stage import NamesParameter


class SettingError(SystemExit):
    """A setting that cannot be meant; ends the program with its message alone, for no traceback would help."""


class StagesParameter(NamesParameter):
    """Names of stages with commas between them."""

    def parse(self, text: str) -> tuple[str, ...]:
        return self.normalize(super().parse(text))

    def normalize(self, value: Iterable[str]) -> tuple[str, ...]:
        known = luigi.task_register.Register.task_names()
        for name in (names := tuple(value)):
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, 0.5)
                meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
                raise SettingError(f"--force {name}: there is no such stage; {meant}")
        return names


class FolderParameter(luigi.PathParameter):
    """A folder, made absolute; `~` is a home, as in a shell, which expands none in luigi.cfg or behind `=`."""

    def normalize(self, x: Any) -> Path:
        try:
            return Path(x).expanduser().absolute()
        except RuntimeError:
            raise SettingError(f"{x}: there is no such user; write the path in full, from / on") from None
