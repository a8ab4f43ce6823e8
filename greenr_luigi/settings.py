"""Settings: the packaged luigi.cfg below the user's own, flowing down the graph, with misspellings refused."""

from __future__ import annotations

import configparser
import difflib
import itertools
import json
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import luigi
import luigi.configuration

from greenr_luigi._old_parameters import FolderParameter
from greenr_luigi._old_parameters import SettingError as SettingError
from greenr_luigi.paths import DEFAULTS
from greenr_luigi.pictures.labels import LabelError, folder_name

T = TypeVar("T")


def apply(stages: Sequence[type[luigi.Task]], argv: Sequence[str] | None = None) -> None:
    """Lay the packaged defaults under Luigi's configuration, let each stage take over what the stages before it
    have set, and refuse names that no stage knows and values that cannot be meant. Called once the stages are
    defined."""
    config = luigi.configuration.get_config()
    defaults = configparser.RawConfigParser()
    defaults.optionxform = str  # type: ignore[assignment,method-assign]
    defaults.read(DEFAULTS)
    ours = {stage.__name__ for stage in stages}
    for section in ours & set(config.sections()):
        known = [name for name, _ in _stage(stages, section).get_params()]
        for option in config.options(section):
            if option.replace("-", "_") not in known and option not in config.defaults():
                raise SettingError(
                    f"luigi.cfg: [{section}] {option} is no parameter of {section}{nearest(option, known)}"
                )
    for section in set(config.sections()) - set(defaults.sections()):
        if close := difflib.get_close_matches(section, ours, 1, 0.8):
            raise SettingError(f"luigi.cfg: [{section}] is no stage: did you mean [{close[0]}]?")
    yours = {
        (stage.__name__, name)
        for stage in stages
        for name, _ in stage.get_params()
        if config.has_option(stage.__name__, name)
    }
    for stage in stages:
        for name, parameter in stage.get_params():
            if (stage.__name__, name) in yours:
                try:
                    parameter.normalize(parameter.parse(config.get(stage.__name__, name)))
                except SettingError as error:
                    said = str(error).removeprefix("--")
                    raise SettingError(f"luigi.cfg: [{stage.__name__}] {said}") from None
    for section in defaults.sections():
        for option, value in defaults.items(section):
            if not config.has_option(section, option):
                config.set(section, option, value)
    flowing: dict[str, str] = {}
    for stage in stages:
        for name, _ in stage.get_params():
            if (stage.__name__, name) in yours or (
                name not in flowing and config.has_option(stage.__name__, name)
            ):
                flowing[name] = config.get(stage.__name__, name, raw=True)
            elif name in flowing:
                config.set(stage.__name__, name, flowing[name])
    check_command_line(stages, sys.argv[1:] if argv is None else argv)


def configured(stage: type[luigi.Task]) -> dict[str, str]:
    """The parameters that need not be given, and what they are then."""
    name = stage.__name__
    return {
        option: parameter.serialize(parameter.task_value(name, option))
        for option, parameter in stage.get_params()
        if parameter.has_task_value(name, option)
    }


def check_command_line(stages: Sequence[type[luigi.Task]], argv: Sequence[str]) -> None:
    """Name the nearest stage or parameter for a misspelled one. Luigi, which speaks next, ends in a traceback for the
    one and only says of the other that it is unknown."""
    named = {word for before, word in zip(["", *argv], argv, strict=False) if before != "--force"}
    stage = next((stage for stage in stages if stage.__name__ in named), None)
    if "--module" not in argv:
        return
    if stage is None:
        _check_stage(stages, argv)
        return
    own = [name.replace("_", "-") for name, _ in stage.get_params()]
    everyones = [
        name if bare else f"{task}-{name}"
        for task, bare, name, _ in luigi.task_register.Register.get_all_params()
    ]
    known = [*own, *(name.replace("_", "-") for name in everyones), "help", "help-all"]
    for word in argv:
        option = word[2:].split("=")[0]
        if word.startswith("--") and option and not any(name.startswith(option) for name in known):
            raise SettingError(f"--{option} is no parameter of {stage.__name__}{nearest(option, own, '--')}")


def _check_stage(stages: Sequence[type[luigi.Task]], argv: Sequence[str]) -> None:
    """Refuse the first word that belongs to no option, if the module is ours: others may have stages of their own."""
    everyones = luigi.task_register.Register.get_all_params()
    flags = {
        f"--{name.replace('_', '-')}"
        for _, bare, name, parameter in everyones
        if bare and isinstance(parameter, luigi.BoolParameter)
    }
    names = [stage.__name__ for stage in stages]
    ours = stages[0].__module__.split(".")[0]
    for before, word in zip(["", *argv], argv, strict=False):
        takes_it = before.startswith("--") and "=" not in before and before not in flags
        if not word.startswith("--") and not takes_it:
            if ("--module", ours) in itertools.pairwise(argv):
                raise SettingError(f"{word} is no stage{nearest(word, names)}")
            return


def check_shares(valid: float, test: float) -> None:
    """Raises SettingError if the two sides leave nothing to learn from."""
    if valid + test >= 1:
        raise SettingError(
            f"--valid-share {valid:g} and --test-share {test:g}: expected less than 1 together, for the rest is "
            "what the model learns from"
        )


def check_queries(queries: Collection[str], classes: Sequence[str]) -> None:
    """Raises SettingError for a query of no class, which nothing would ever search for."""
    for name in queries:
        if name not in classes:
            raise SettingError(f"--queries: {name} is no class{nearest(name, classes)}")


def nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    """The end of a sentence that names what was probably meant."""
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean {prefix}{close[0]}?" if close else f": expected one of {', '.join(known)}"


def _stage(stages: Sequence[type[luigi.Task]], name: str) -> type[luigi.Task]:
    return next(stage for stage in stages if stage.__name__ == name)


def class_name(name: object) -> str:
    """A class's name as everyone writes it: file systems and keyboards compose accents differently."""
    return unicodedata.normalize("NFC", str(name)).strip()


class Refusing(luigi.Parameter[T]):
    """A parameter that refuses what cannot be meant in one line, which names the option."""

    option = "--"

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)  # type: ignore[no-untyped-call]
        self.option = f"--{name.replace('_', '-')}"

    def refusal(self, value: object, expected: str) -> SettingError:
        return SettingError(f"{self.option} {str(value) or 'is empty'}: expected {expected}")


class NumberParameter(Refusing[float]):
    """A number of a kind, int or float, from `least` to `most`; `between`: neither of these two."""

    def __init__(
        self, kind: Callable[[Any], float], least: float, most: float = float("inf"), *,
        between: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(**more)
        self.kind, self.least, self.most, self.between = kind, least, most, between

    def parse(self, text: str) -> float:
        return self.normalize(text)

    def normalize(self, value: object) -> float:
        try:
            number = self.kind(value)
            if self.least < number < self.most or (not self.between and number in (self.least, self.most)):
                return number
        except (ValueError, OverflowError):
            pass
        whole = "a whole number" if self.kind is int else "a number"
        if self.between:
            raise self.refusal(value, f"{whole} above {self.least} and below {self.most}")
        if self.most == float("inf"):
            raise self.refusal(value, f"{whole}, at least {self.least}")
        raise self.refusal(value, f"{whole} from {self.least} to {self.most}")


class ChoiceParameter(Refusing[str]):
    """One of a few words."""

    def __init__(self, *choices: str, **more: Any) -> None:
        super().__init__(**more)
        self.choices = choices

    def parse(self, text: str) -> str:
        return self.normalize(text)

    def normalize(self, value: str) -> str:
        if value not in self.choices:
            raise self.refusal(value, f"one of {', '.join(self.choices)}")
        return value


class OptionalFolderParameter(luigi.OptionalPathParameter, FolderParameter):
    """A folder, or none."""


class QueriesParameter(Refusing[Mapping[str, str]], luigi.DictParameter):
    """What to search for, by class, as a JSON object."""

    def parse(self, text: str) -> Mapping[str, str]:
        try:
            return self.normalize(json.loads(text))
        except ValueError as error:
            raise self.refusal(text, f'JSON such as {{"grass": "lawn grass"}} ({error})') from None

    def normalize(self, value: Any) -> Mapping[str, str]:
        if not isinstance(value, Mapping) or not all(
            isinstance(v, str) and v.strip() for v in value.values()
        ):
            raise self.refusal(value, 'words for each class, such as {"grass": "lawn grass"}')
        named = {class_name(name): words for name, words in value.items()}
        frozen: Mapping[str, str] = super().normalize(named)  # type: ignore[no-untyped-call]
        return frozen


class ClassesParameter(luigi.Parameter[tuple[str, ...]]):
    """Class names, as `dandelion,grass` or as a JSON list for names that hold a comma."""

    def parse(self, text: str) -> tuple[str, ...]:
        try:
            return self.normalize(json.loads(text) if text.lstrip().startswith("[") else text.split(","))
        except ValueError as error:
            raise SettingError(
                f'--classes {text}: expected names such as dandelion,grass or ["dandelion", "grass"] ({error})'
            ) from None

    def normalize(self, value: Iterable[str]) -> tuple[str, ...]:
        names = tuple(class_name(name) for name in value)
        doubled = {name for name in names if names.count(name) > 1}
        if len(names) < 2 or "" in names or doubled:
            raise SettingError(
                f"--classes {','.join(names)}: expected two or more different names, such as dandelion,grass"
            )
        for name in names:
            try:
                folder_name(name)
            except LabelError as error:
                raise SettingError(f"--classes: {error}") from None
        return names

    def serialize(self, value: Sequence[str]) -> str:
        plain = ",".join(value)
        return (
            plain
            if plain.split(",") == list(value) and not plain.startswith("[")
            else json.dumps(list(value), ensure_ascii=False)
        )
