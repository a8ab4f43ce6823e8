"""What a person has written in luigi.cfg, and what of that is wrong. settings.apply has it checked."""

from __future__ import annotations

import collections
import configparser
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import luigi
import luigi.configuration
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError
from luigi.parameter import ParameterVisibility
from luigi.task_register import Register

from greenr_luigi import luigi_cfg
from greenr_luigi.about import DEFAULTS
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.parameters import NumberParameter
from greenr_luigi.staleness import regular
from greenr_luigi.text import did_you_mean, nearest

#: The section with the page's settings.
SERVER = "server"


#: Those of `greenr run`, which are classes below.
OURS = ("run", "notify", "dashboard")


class Default(str):
    """A value in Luigi's configuration that no person has written there."""


class run(luigi.Config):
    """Section [run] of luigi.cfg, which Luigi calls as the class is called."""

    retries = NumberParameter(int, 0, description="How often a run is tried again after a passing fault.")
    minutes = NumberParameter(float, 0, 24 * 60, description="Minutes between two tries.")
    keep = NumberParameter(int, 0, description="Outputs of each stage, and releases, that a good run leaves.")
    logs = NumberParameter(int, 1, description="Logs of runs that are kept.")


class dashboard(luigi.Config):
    """Section [dashboard] of luigi.cfg."""

    host = luigi.Parameter(description="Address that the dashboard listens on.")
    port = NumberParameter(int, 1, 65535, description="Port that the dashboard listens on.")
    boot = NumberParameter(
        int, 0, 1, description="Whether the schedule starts the dashboard with the machine."
    )
    days = NumberParameter(int, 1, 36500, description="Days for which the history of tasks is kept.")


Section = TypeVar("Section", run, dashboard)


def of_section(kind: type[Section]) -> Section:
    """What luigi.cfg and the defaults say there. Raises SettingError."""
    try:
        return kind()
    except ValueError as error:
        words = str(error.__cause__).removeprefix("--")
        raise SettingError(f"luigi.cfg: [{kind.__name__}] {words}") from None


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


def truth(text: str) -> bool:
    try:
        return configparser.RawConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def logging_file(text: str) -> None:
    """Raises ValueError for what Luigi cannot set its log up by."""
    written = configparser.RawConfigParser()
    try:
        written.read_string(regular.read(Path(text)).decode() if text else "")
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror}): correct it, or leave it out") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read ({' '.join(str(error).split())}): mend it") from None
    lacking = {"loggers", "handlers", "formatters"} - {*written.sections()}
    if text and lacking:
        raise ValueError(f"it has no section [{min(lacking)}]: mend it, or leave it out")


#: What Luigi reads of [core] past its parameters.
CORE: dict[str, Callable[[str], object]] = {
    "no_configure_logging": truth,
    "logging_conf_file": logging_file,
    "rpc_connect_timeout": float,
    "rpc_retry_attempts": int,
    "rpc_retry_wait": int,
    "rpc_log_retries": truth,
}


def _earlier_names() -> dict[str, dict[str, luigi.Parameter[Any]]]:
    """By section, the parameters that Luigi reads by an earlier name, such as [core] default-scheduler-port."""
    found = collections.defaultdict[str, dict[str, luigi.Parameter[Any]]](dict)
    for kind in luigi.Config.__subclasses__():
        for _, parameter in kind.get_params():
            if earlier := parameter._config_path:
                found[earlier["section"]].setdefault(earlier["name"].replace("-", "_"), parameter)
    return found


def _readers(
    config: Any, section: str, earlier: Mapping[str, dict[str, luigi.Parameter[Any]]]
) -> dict[str, Callable[[str], object]]:
    """What makes a value of the text of each option of a section that Luigi reads, or raises ValueError or GreenrError;
    none for a section that it does not read. `earlier`: as `_earlier_names` returns."""
    if section == "resources":
        return {option: int for option in config.options(section) if option not in config.defaults()}
    known = section in Register.task_names()
    parameters = earlier.get(section, {}) | (
        dict(Register.get_task_cls(section).get_params()) if known else {}
    )
    readers: dict[str, Callable[[str], object]] = {
        name: lambda text, parameter=parameter: parameter.normalize(parameter.parse(text))  # type: ignore[misc]
        for name, parameter in parameters.items()
    }
    return readers | (CORE if section == "core" else {})


def wrong_values(config: Any) -> Iterator[SettingError]:
    """Of Luigi's and the stages' own settings."""
    earlier = _earlier_names()
    for section in sorted(config.sections()):
        readers = _readers(config, section, earlier)
        for option in config.options(section) if readers else ():
            written = config.get(section, option, raw=True)
            if isinstance(written, Default):
                continue
            if section in OURS and option not in {*readers, *config.defaults()}:
                expected = did_you_mean(option, [*readers])
                yield SettingError(
                    f"{luigi_cfg.file_of(section)}: [{section}] {option} is no setting: {expected}"
                )
            read = readers.get(option if section == "resources" else option.replace("-", "_"))
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
        # Python says it in its own words.
        numbers = {
            "invalid literal for int": "a whole number",
            "could not convert string to float": "a number",
        }
        kind = next((kind for words, kind in numbers.items() if str(error).startswith(words)), None)
        return f"{option} = {written}: {f'expected {kind}' if kind else error}"
    return None


def wrong_sections(
    config: Any, stages: Sequence[type[luigi.Task]], packaged: Sequence[str]
) -> Iterator[SettingError]:
    names = [*(stage.get_task_family() for stage in stages), SERVER, *OURS]
    for section in sorted(set(config.sections()) - {SERVER, *packaged, *Register.task_names()}):
        close = nearest(section, names, 0.8)
        # A stage that another package has yet to define may be called TrainModel2.
        if close and not re.fullmatch(rf"{close}\d+", section):
            yield SettingError(
                f"{luigi_cfg.file_of(section)}: [{section}] is no stage: did you mean [{close}]?"
            )
