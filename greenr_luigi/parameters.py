"""Luigi parameters that refuse an invalid value in one line: the option, the value, what was expected."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import luigi
from luigi.task_register import Register

from greenr_luigi.about import CONTACT
from greenr_luigi.errors import SettingError
from greenr_luigi.pictures.labels import LabelError, folder_name
from greenr_luigi.sources import registry
from greenr_luigi.sources.licenses import RIGHTS
from greenr_luigi.sources.source import SourceError
from greenr_luigi.staleness.parameters import NamesParameter
from greenr_luigi.staleness.stage import Stage
from greenr_luigi.text import composed, did_you_mean, networks

T = TypeVar("T")
N = TypeVar("N", int, float)


class CheckedParameter(luigi.Parameter[T]):
    """A parameter whose `check` takes text or a value, and returns the value, or raises an error for an invalid one."""

    #: What a refusal says was expected.
    expected = ""
    _option = "--"

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)  # type: ignore[no-untyped-call]
        self._option = f"--{name.replace('_', '-')}"

    def check(self, value: Any) -> T:
        raise NotImplementedError

    def parse(self, text: str) -> T:
        return self.normalize(text)

    def normalize(self, value: Any) -> T:
        try:
            return self.check(value)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            shown = "is empty" if value == "" else value
            raise SettingError(f"{self._option} {shown}: expected {self.expected}") from None


class NumberParameter(CheckedParameter[N], luigi.NumericalParameter[N]):
    """An int or float from `least` to `most`; `between`: these two themselves are not allowed."""

    def __init__(
        self, var_type: type[N], least: float, most: float = math.inf, *, between: bool = False, **more: Any
    ) -> None:
        compare = operator.lt if between else operator.le
        limits: Any = {"var_type": var_type, "min_value": least, "max_value": most}
        super().__init__(**limits, left_op=compare, right_op=compare, **more)
        ends = f" from {least} to {most}" if most < math.inf else f", at least {least}"
        kind = "a whole number" if var_type is int else "a number"
        self.expected = kind + (f" above {least} and below {most}" if between else ends)

    def check(self, value: Any) -> N:
        number: N = luigi.NumericalParameter.parse(cast(Any, self), value)
        return number


class ChoiceParameter(CheckedParameter[str]):
    """One of a few words. Luigi's own names them in its help in an order that changes from run to run."""

    def __init__(self, choices: Sequence[str], description: str) -> None:
        super().__init__(description=description)
        self.choices = choices
        self.expected = f"one of {', '.join(choices)}"

    def check(self, value: Any) -> str:
        return str(self.choices[self.choices.index(value)])


class PatternParameter(CheckedParameter[str]):
    """A regular expression, or empty text for none."""

    expected = r"a regular expression of Python, such as ([^/]+)_frame\d+, or nothing"

    def check(self, value: Any) -> str:
        try:
            return re.compile(str(value)).pattern
        except re.error as error:
            raise SettingError(f"{self._option} {value}: {error}: expected {self.expected}") from None


class LabelPatternParameter(PatternParameter):
    """A regular expression with a group, or empty text for none."""

    expected = r"a regular expression with a group, such as (?P<label>.+)_\d+, or nothing"

    def check(self, value: Any) -> str:
        pattern = super().check(value)
        if pattern and not re.compile(pattern).groups:
            raise ValueError
        return pattern


class SourceParameter(CheckedParameter[str]):
    """The name of a source of pictures, or of search engines with commas between them; empty: as `folder` tells."""

    def check(self, value: Any) -> str:
        if value == "":
            return ""
        for name in registry.names(str(value)):
            if name not in registry.SOURCES:
                expected = did_you_mean(name, [*registry.SOURCES])
                raise SettingError(f"{self._option} {name}: there is no such source: {expected}")
        try:
            return registry.find(str(value)).name
        except SourceError as error:
            raise SettingError(f"{self._option} {value}: {error}") from None


class LicenseParameter(CheckedParameter[str]):
    """What pictures must be free for, by licenses.RIGHTS, its words in any order; empty, or `any`, for anything."""

    def check(self, value: Any) -> str:
        words = {word.strip().lower() for word in str(value or "").split(",")} - {"", "any"}
        for name in ("", *RIGHTS):
            if words == set(filter(None, name.split(","))):
                return name
        expected = did_you_mean(str(value), [*RIGHTS, "any"])
        raise SettingError(f"{self._option} {value}: there is no such licence: {expected}")


class FolderParameter(CheckedParameter[Path]):
    """A folder, made absolute, by one name however it is written. `~` is expanded: a shell does not do so in luigi.cfg
    or behind `=`."""

    expected = "a path in full, from / on, since there is no such user"

    def check(self, value: Any) -> Path:
        # As it comes from another stage.
        if isinstance(value, Path) and value.root == "/" and ".." not in value.parts:
            return value
        # Two slashes at the beginning are no other place than one.
        path = Path("/", *Path(value).expanduser().absolute().parts[1:])
        return path.resolve() if ".." in path.parts else path


class OptionalFolderParameter(CheckedParameter[Path | None]):
    """A folder, or none, which is empty text."""

    expected = FolderParameter.expected

    def check(self, value: Any) -> Path | None:
        return FolderParameter.check(cast(Any, self), value) if value else None

    def serialize(self, value: Path | None) -> str:
        return str(value or "")


class NetworksParameter(CheckedParameter[str]):
    """Networks with commas between them; empty for none."""

    expected = "networks such as 10.1.0.0/16,fd00::/8"

    def check(self, value: Any) -> str:
        return ",".join(map(str, networks(value)))


class ContactParameter(CheckedParameter[str]):
    """A page or an address of mail; empty for none."""

    expected = "a page or an address of mail, such as https://example.org/bot or me@example.org, or nothing"

    def check(self, value: Any) -> str:
        contact = str(value).strip()
        if contact and not CONTACT.fullmatch(contact):
            raise ValueError
        return contact


class StagesParameter(CheckedParameter[tuple[str, ...]], NamesParameter):
    """Names of stages with commas between them."""

    def check(self, value: str | Iterable[str]) -> tuple[str, ...]:
        names = NamesParameter.parse(self, value) if isinstance(value, str) else tuple(value)
        if unknown := [name for name in names if name not in Register.task_names()]:
            expected = did_you_mean(unknown[0], _stage_names())
            raise SettingError(f"{self._option} {unknown[0]}: there is no such stage: {expected}")
        return names


def _stage_names(kind: type[Stage] = Stage) -> list[str]:
    """Of the classes of stages that no other class derives from."""
    derived = [name for below in kind.__subclasses__() for name in _stage_names(below)]
    return derived or [kind.get_task_family()]


class QueriesParameter(CheckedParameter[Mapping[str, str]], luigi.DictParameter):
    """What to search for, by class, as a JSON object."""

    expected = 'words for each class, such as {"grass": "lawn grass"}'

    def check(self, value: Any) -> Mapping[str, str]:
        queries = json.loads(value) if isinstance(value, str) else value
        if not isinstance(queries, Mapping) or not all(
            isinstance(words, str) and words.strip() for words in queries.values()
        ):
            raise ValueError
        named = sorted((composed(name).strip(), words.strip()) for name, words in queries.items())
        # What is searched for by its name anyway says nothing.
        told = {name: words for name, words in named if words != name}
        frozen: Mapping[str, str] = luigi.freezing.recursively_freeze(told)
        return frozen


class ClassesParameter(CheckedParameter[tuple[str, ...]]):
    """Class names, as `dandelion,grass` or as a JSON list for names that hold a comma. Sorted: their order counts for
    nothing. Empty for those that `folder` tells."""

    expected = 'two or more different names, such as dandelion,grass or ["dandelion", "grass"]'

    def check(self, value: str | Iterable[str]) -> tuple[str, ...]:
        if value in ("", ()):
            return ()
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
        names = tuple(sorted(composed(str(name)).strip() for name in value))
        if len(names) < 2 or "" in names or len(set(names)) < len(names):
            raise ValueError
        for name in names:
            try:
                folder_name(name)
            except LabelError as error:
                raise SettingError(f"{self._option}: {error}") from None
        return names

    def serialize(self, value: Sequence[str]) -> str:
        plain = ",".join(value)
        if plain.split(",") == list(value) and not plain.startswith("["):
            return plain
        return json.dumps(list(value), ensure_ascii=False)
