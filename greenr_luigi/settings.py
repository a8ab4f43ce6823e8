"""Settings: the packaged luigi.cfg below the user's own, flowing down the graph, with misspellings refused."""

from __future__ import annotations

import configparser
import difflib
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence

import luigi
import luigi.configuration

from greenr_luigi import HERE


class SettingError(SystemExit):
    """A setting that cannot be meant; ends the program with its message."""


def apply(stages: Sequence[type[luigi.Task]], argv: Sequence[str] | None = None) -> None:
    """Lay the packaged defaults under Luigi's configuration, let each stage take over what the stages before it
    have set, and refuse names that no stage knows. Called once the stages are defined."""
    config = luigi.configuration.get_config()
    defaults = configparser.RawConfigParser()
    defaults.optionxform = str  # type: ignore[assignment,method-assign]
    defaults.read(HERE / "luigi.cfg")
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


def check_command_line(stages: Iterable[type[luigi.Task]], argv: Sequence[str]) -> None:
    """Name the nearest parameter for a misspelled one; argparse, which speaks next, only says that it is unknown."""
    before = dict(zip(argv[1:], argv, strict=False))
    stage = next((s for s in stages if s.__name__ in argv and before.get(s.__name__) != "--force"), None)
    if stage is None or "--module" not in argv:
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


def nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    """The end of a sentence that names what was probably meant."""
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean {prefix}{close[0]}?" if close else f": expected one of {', '.join(known)}"


def _stage(stages: Sequence[type[luigi.Task]], name: str) -> type[luigi.Task]:
    return next(stage for stage in stages if stage.__name__ == name)


class ClassesParameter(luigi.Parameter[tuple[str, ...]]):
    """Class names, as `dandelion,grass` or as a JSON list for names that hold a comma."""

    def parse(self, text: str) -> tuple[str, ...]:
        names = json.loads(text) if text.lstrip().startswith("[") else text.split(",")
        return self.normalize(names)

    def normalize(self, value: Iterable[str]) -> tuple[str, ...]:
        names = tuple(unicodedata.normalize("NFC", str(name)).strip() for name in value)
        doubled = {name for name in names if names.count(name) > 1}
        if len(names) < 2 or "" in names or doubled:
            raise SettingError(
                f"--classes {','.join(names)}: expected two or more different names, such as dandelion,grass"
            )
        return names

    def serialize(self, value: Sequence[str]) -> str:
        plain = ",".join(value)
        return (
            plain
            if plain.split(",") == list(value) and not plain.startswith("[")
            else json.dumps(list(value))
        )
