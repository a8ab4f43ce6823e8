"""What a person has written in luigi.cfg, and what of that is wrong. settings.apply has it checked."""

from __future__ import annotations

import configparser
import difflib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import luigi
import luigi.configuration
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError
from luigi.parameter import ParameterVisibility
from luigi.task_register import Register

from greenr_luigi import luigi_cfg
from greenr_luigi.about import DEFAULTS
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.parameters import NumberParameter
from greenr_luigi.text import did_you_mean

#: The section with the page's settings.
SERVER = "server"


#: Those of `greenr run`, which are classes below.
OURS = ("run", "notify")


class Default(str):
    """A value in Luigi's configuration that no person has written there."""


class run(luigi.Config):
    """Section [run] of luigi.cfg, which Luigi calls as the class is called."""

    retries = NumberParameter(int, 0, description="How often a run is tried again after a passing fault.")
    minutes = NumberParameter(float, 0, description="Minutes between two tries.")
    keep = NumberParameter(int, 0, description="Outputs of each stage, and releases, that a good run leaves.")
    logs = NumberParameter(int, 1, description="Logs of runs that are kept.")


class notify(luigi.Config):
    """Section [notify] of luigi.cfg. It is read by operations.notifier, also where the file does not parse."""

    urls = luigi.Parameter(
        default="",
        visibility=ParameterVisibility.PRIVATE,
        description="Apprise's addresses of who hears that a run failed, and that it is mended.",
    )


@functools.cache
def read(*files: Path) -> configparser.RawConfigParser:
    """The packaged defaults; not to be changed."""
    found = configparser.RawConfigParser()
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(files)
    return found


def of_server() -> dict[str, str]:
    """What a person has written in the section [server]: the text of each of the page's settings, by its variable.
    What is left empty, or is as by default, is not told."""
    config, defaults = luigi.configuration.get_config(), read(DEFAULTS)
    written = {option: config.get(SERVER, option) for option in _written(config, SERVER)}
    return {
        f"GREENR_{option.replace('-', '_').upper()}": value
        for option, value in written.items()
        if value and value != defaults.get(SERVER, option, fallback="")
    }


def _written(config: Any, section: str) -> list[str]:
    """The options that a person has written there, those of [DEFAULT] aside."""
    return [
        option
        for option in (config.options(section) if config.has_section(section) else ())
        if option not in config.defaults() and not isinstance(config.get(section, option, raw=True), Default)
    ]


def wrong_of_server(config: Any) -> Iterator[SettingError]:
    if not (written := _written(config, SERVER)):
        return
    # Not before: it costs a run with nothing to do some milliseconds.
    from greenr_luigi.web import settings as web

    elsewhere = {"store": "of `root`", "run_dir": "of `root`", "root_path": "[DeployApp] root_path"}
    known = [field.name for field in fields(web.Settings) if field.name not in elsewhere]
    for option in written:
        name = option.replace("-", "_")
        if name not in known:
            words = f"it is {elsewhere[name]}" if name in elsewhere else did_you_mean(name, known)
            problem = f"{option} is no setting of the page: {words}"
        else:
            problem = _why_wrong(config, SERVER, option, _or_empty(web.reader(name))) or ""
        if problem:
            yield SettingError(f"{luigi_cfg.file_of(SERVER)}: [{SERVER}] {problem}")


def _or_empty(read: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: text and read(text)


def wrong_values(config: Any) -> Iterator[SettingError]:
    """Of Luigi's and the stages' own settings."""
    for section in sorted(set(config.sections()) & {*Register.task_names()}):
        parameters = dict(Register.get_task_cls(section).get_params())
        for option in config.options(section):
            written = config.get(section, option, raw=True)
            if isinstance(written, Default):
                continue
            if section in OURS and option not in {*parameters, *config.defaults()}:
                expected = did_you_mean(option, [*parameters])
                yield SettingError(
                    f"{luigi_cfg.file_of(section)}: [{section}] {option} is no setting: {expected}"
                )
            parameter = parameters.get(option.replace("-", "_"))
            read = parameter and (
                lambda text, parameter=parameter: parameter.normalize(parameter.parse(text))
            )
            if words := _why_wrong(config, section, option, read):
                where = config.default_section if written == config.defaults().get(option) else section
                # A value may go over several lines.
                yield SettingError(f"{luigi_cfg.file_of(where)}: [{where}] {' '.join(words.split())}")


def _why_wrong(config: Any, section: str, option: str, read: Callable[[str], object] | None) -> str | None:
    """`read`: what makes a value of the text, or raises ValueError or GreenrError."""
    written = luigi_cfg.shown(section, option, config.get(section, option, raw=True))
    try:
        value = config.get(section, option)
        if read is not None:
            read(value)
    except InterpolationMissingEnvvarError:
        return f"{option} = {written}: there is no such environment variable: set it"
    except configparser.InterpolationError:
        return f"{option} = {written}: write %% for a percent sign"
    except GreenrError as error:
        return str(error).removeprefix("--")
    except (ValueError, TypeError) as error:
        return f"{option} = {written}: {error}"
    return None


def wrong_sections(
    config: Any, stages: Sequence[type[luigi.Task]], packaged: Sequence[str]
) -> Iterator[SettingError]:
    names = [*(stage.get_task_family() for stage in stages), SERVER, *OURS]
    for section in sorted(set(config.sections()) - {SERVER, *packaged, *Register.task_names()}):
        close = difflib.get_close_matches(section, names, 1, 0.8)
        # A stage that another package has yet to define may be called TrainModel2.
        if close and not re.fullmatch(rf"{close[0]}\d+", section):
            yield SettingError(
                f"{luigi_cfg.file_of(section)}: [{section}] is no stage: did you mean [{close[0]}]?"
            )
