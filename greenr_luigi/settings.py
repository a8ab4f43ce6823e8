"""Luigi's configuration, checked: the packaged defaults below a person's own, flowing down the graph."""

from __future__ import annotations

import configparser
import contextlib
import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import luigi
import luigi.configuration
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError
from luigi.parameter import MissingParameterException
from luigi.task_register import Register

from greenr_luigi import luigi_cfg
from greenr_luigi.about import DEFAULTS
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.parameters import NumberParameter
from greenr_luigi.stage import PipelineStage
from greenr_luigi.text import did_you_mean

Stages = Sequence[type[luigi.Task]]
#: The section with the page's settings.
SERVER = "server"


class Default(str):
    """A value in Luigi's configuration that no person has written there."""


class run(luigi.Config):
    """Section [run] of luigi.cfg, which Luigi calls as the class is called."""

    retries = NumberParameter(int, 0, description="How often a run is tried again after a passing fault.")
    minutes = NumberParameter(float, 0, description="Minutes between two tries.")
    keep = NumberParameter(int, 0, description="Outputs of each stage, and releases, that a good run leaves.")
    logs = NumberParameter(int, 1, description="Logs of runs that are kept.")


def apply(stages: Stages, defaults: Path = DEFAULTS) -> None:
    """Put the packaged defaults into Luigi's configuration, let each stage take over what the stages before it have,
    and check both. `stages` are in the order in which data flows.

    A package with stages on top of `tasks` calls it again, with all of them and its own `defaults`, which override the
    packaged ones. What a person wrote in luigi.cfg overrides both.

    Where Luigi's command line runs, it is checked here first: for most mistakes Luigi ends in a traceback. Raises
    SettingError for what is not valid; that command line then shows the message alone, and the stage that it names is
    told (`refused`).
    """
    arguments = sys.argv[1:]
    # Or what it may be shortened to.
    option = re.search(r"\0--m(?:o|od|odu|odul|odule)?[=\0]([^\0.]+)", "\0" + "\0".join(arguments))
    # `--module mine`: `mine` imports `tasks` first, while options and sections may belong to stages that it has yet to
    # define. They are checked when `mine` calls this itself.
    complete = option is None or option[1] in {stage.__module__.split(".")[0] for stage in stages}
    commanded = option is not None and "luigi.cmdline" in sys.modules
    if commanded:
        sys.excepthook = functools.partial(_show_message_alone, sys.excepthook)
    try:
        _apply(stages, defaults, complete)
        if commanded and complete:
            build_task(stages, arguments)
    except SettingError:
        for stage in stages:
            if commanded and stage.get_task_family() in arguments and issubclass(stage, PipelineStage):
                stage.refused(arguments)
        raise


@contextlib.contextmanager
def mistakes_told(tell: Callable[[str], object]) -> Iterator[None]:
    """Meanwhile `apply` tells what is not valid in luigi.cfg, and goes on: for what it may not concern."""
    global _tell
    _tell, before = tell, _tell
    try:
        yield
    finally:
        _tell = before


#: What `apply` does with mistakes, if it is not to raise them.
_tell: Callable[[str], object] | None = None


def _apply(stages: Stages, defaults: Path, complete: bool) -> None:
    luigi_cfg.check()
    packaged = _read([DEFAULTS, defaults])
    config = luigi.configuration.get_config()
    mistakes = [
        *(_wrong_sections(config, stages, packaged.sections()) if complete else ()),
        *_lay(config, stages, packaged),
        *_wrong_values(config),
        *_wrong_of_server(config),
    ]
    if _tell is None and mistakes:
        raise mistakes[0]
    for words in dict.fromkeys(map(str, mistakes)):
        _tell and _tell(words)


def packaged_defaults(stages: Stages) -> dict[str, str]:
    """What the parameters of the last of some stages are by the packaged defaults, as they flow down to it."""
    packaged, flowing = _read([DEFAULTS]), dict[str, str]()
    for stage in stages:
        if packaged.has_section(stage.get_task_family()):
            flowing |= packaged.items(stage.get_task_family())
    return flowing


def _read(files: Sequence[Path]) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser()
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(files)
    return found


def _lay(config: Any, stages: Stages, packaged: configparser.RawConfigParser) -> Iterator[SettingError]:
    """Write defaults where a person has written nothing. Yields an error for each option that no stage has."""

    def is_written(section: str, option: str) -> bool:
        return config.has_option(section, option) and not isinstance(
            config.get(section, option, raw=True), Default
        )

    flowing: dict[str, str] = {}
    for stage in stages:
        family, known = stage.get_task_family(), [name for name, _ in stage.get_params()]
        for option in config.options(family) if config.has_section(family) else ():
            if option.replace("-", "_") not in known and option not in config.defaults():
                expected = did_you_mean(option, known)
                yield SettingError(
                    f"{luigi_cfg.file_of(family)}: [{family}] {option} is no parameter of {family}: {expected}"
                )
        for name in known:
            if is_written(family, name):
                flowing[name] = config.get(family, name, raw=True)
            elif name in flowing or packaged.has_option(family, name):
                value = flowing.setdefault(name, packaged.get(family, name, fallback=""))
                # One with a wrong percent sign goes nowhere, and is told where it stands.
                with contextlib.suppress(ValueError):
                    config.set(family, name, Default(value))
    for section in set(packaged.sections()) - {stage.get_task_family() for stage in stages}:
        for option, value in packaged.items(section):
            if not is_written(section, option):
                config.set(section, option, Default(value))


def of_server() -> dict[str, str]:
    """What a person has written in the section [server]: the text of each of the page's settings, by its variable.
    What is left empty, or is as by default, is not told."""
    config, defaults = luigi.configuration.get_config(), _read([DEFAULTS])
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


def _wrong_of_server(config: Any) -> Iterator[SettingError]:
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


def _wrong_values(config: Any) -> Iterator[SettingError]:
    """Of Luigi's and the stages' own settings."""
    for section in sorted(set(config.sections()) & {*Register.task_names()}):
        parameters = dict(Register.get_task_cls(section).get_params())
        for option in config.options(section):
            written = config.get(section, option, raw=True)
            if isinstance(written, Default):
                continue
            if section == "run" and option not in {*parameters, *config.defaults()}:
                expected = did_you_mean(option, [*parameters])
                yield SettingError(f"{luigi_cfg.file_of(section)}: [run] {option} is no setting: {expected}")
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
    written = config.get(section, option, raw=True)
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


def _wrong_sections(config: Any, stages: Stages, packaged: Sequence[str]) -> Iterator[SettingError]:
    names = [stage.get_task_family() for stage in stages]
    for section in sorted(set(config.sections()) - {*packaged, *Register.task_names()}):
        close = difflib.get_close_matches(section, names, 1, 0.8)
        # A stage that another package has yet to define may be called TrainModel2.
        if close and not re.fullmatch(rf"{close[0]}\d+", section):
            yield SettingError(
                f"{luigi_cfg.file_of(section)}: [{section}] is no stage: did you mean [{close[0]}]?"
            )


def build_task(stages: Stages, arguments: Sequence[str]) -> luigi.Task | None:
    """The stage that `luigi ARGUMENTS` would run; None if it would run none of `stages`. All that it requires has been
    instantiated, too, since that is when stages check their parameters. Raises SettingError for an unknown stage or
    option, and for a value that is missing or not valid."""
    known = CmdlineParser._build_parser().parse_known_args(arguments)[0]
    if (family := known.root_task) is None or known.core_help or known.core_help_all:
        return None
    named = {stage.get_task_family(): stage for stage in stages}
    if family not in Register.task_names():
        raise SettingError(f"{family} is no stage: {did_you_mean(family, [*named])}")
    if family not in named:
        return None
    unknown = CmdlineParser._build_parser(root_task=family).parse_known_args(arguments)[1]
    if option := next((word.split("=")[0] for word in unknown if word.startswith("--")), None):
        options = [f"--{name.replace('_', '-')}" for name, _ in named[family].get_params()]
        raise SettingError(f"{option} is no parameter of {family}: {did_you_mean(option, options)}")
    with CmdlineParser.global_instance(arguments, allow_override=True) as parser:
        try:
            task: luigi.Task = parser.get_task_obj()
        except MissingParameterException as error:
            raise SettingError(str(error)) from None
        _instantiate_required(task, stages)
    return task


def _instantiate_required(task: luigi.Task, stages: Stages) -> None:
    tasks, known = [task], {task.task_id}
    for each in tasks:
        required: list[luigi.Task] = each.deps()
        new = {t.task_id: t for t in required if type(t) in stages and t.task_id not in known}
        known |= new.keys()
        tasks += new.values()


def _show_message_alone(
    otherwise: Callable[..., object], kind: type, error: BaseException, trace: Any
) -> None:
    """An excepthook: without a traceback where a person can mend the error."""
    if isinstance(error, GreenrError):
        print(error, file=sys.stderr)
    else:
        otherwise(kind, error, trace)
