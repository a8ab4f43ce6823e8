"""Luigi's configuration, checked: the packaged defaults below a person's own, flowing down the graph."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import functools
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import luigi
import luigi.configuration
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import core
from luigi.parameter import MissingParameterException
from luigi.task_register import Register

from greenr_luigi import config_check, luigi_cfg, scheduler
from greenr_luigi.about import DEFAULTS
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.stage import one_question
from greenr_luigi.text import did_you_mean

Stages = Sequence[type[luigi.Task]]

_luigis_build_parser: Callable[..., argparse.ArgumentParser] = CmdlineParser._build_parser


@functools.lru_cache(8)
def _parser_of(
    tasks: tuple[type[luigi.Task], ...], root_task: str | None, help_all: bool
) -> argparse.ArgumentParser:
    return _luigis_build_parser(root_task, help_all)


def _build_parser(root_task: str | None = None, help_all: bool = False) -> argparse.ArgumentParser:
    """Luigi builds the parser of all parameters of all tasks nine times a run, and so a sixth of a run with nothing to
    do went into that. One of the same tasks is the same."""
    return _parser_of(tuple(Register._reg), root_task, help_all)


CmdlineParser._build_parser = staticmethod(_build_parser)  # type: ignore[method-assign]


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
    options = "\0" + "\0".join(arguments)
    # Or what it may be shortened to.
    option = re.search(r"\0--m(?:o|od|odu|odul|odule)?[=\0]([^\0.]+)", options)
    # `--module mine`: `mine` imports `tasks` first, while options and sections may belong to stages that it has yet to
    # define. They are checked when `mine` calls this itself.
    complete = option is None or option[1] in {stage.__module__.split(".")[0] for stage in stages}
    commanded = option is not None and "luigi.cmdline" in sys.modules
    if commanded:
        sys.excepthook = functools.partial(_show_message_alone, sys.excepthook)
        logging.getLogger("luigi-interface").addFilter(_message_alone)
    try:
        _apply(stages, defaults, complete)
        if commanded and complete:
            task = build_task(stages, arguments)
            if isinstance(task, PipelineStage) and not re.search(r"\0--(?:local-)?scheduler", options):
                scheduler.choose(luigi.configuration.get_config(), Path(task.root))
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
    packaged = config_check.read(DEFAULTS, defaults)
    config = luigi.configuration.get_config()
    mistakes = [
        *(config_check.wrong_sections(config, stages, packaged.sections()) if complete else ()),
        *_lay(config, stages, packaged),
        *config_check.wrong_values(config),
        *config_check.wrong_of_server(config),
    ]
    if _tell is None and mistakes:
        raise mistakes[0]
    for words in dict.fromkeys(map(str, mistakes)):
        _tell and _tell(words)


def packaged_defaults(stages: Stages) -> dict[str, str]:
    """What the parameters of the last of some stages are by the packaged defaults, as they flow down to it."""
    packaged, flowing = config_check.read(DEFAULTS), dict[str, str]()
    for stage in stages:
        if packaged.has_section(stage.get_task_family()):
            flowing |= packaged.items(stage.get_task_family())
    return flowing


def _lay(config: Any, stages: Stages, packaged: configparser.RawConfigParser) -> Iterator[SettingError]:
    """Write defaults where a person has written nothing. Yields an error for each option that no stage has."""

    def is_written(section: str, option: str) -> bool:
        return config.has_option(section, option) and not isinstance(
            config.get(section, option, raw=True), config_check.Default
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
                    config.set(family, name, config_check.Default(value))
    for section in set(packaged.sections()) - {stage.get_task_family() for stage in stages}:
        for option, value in packaged.items(section):
            if not is_written(section, option):
                config.set(section, option, config_check.Default(value))


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
    parser = CmdlineParser._build_parser(root_task=family)
    unknown = parser.parse_known_args(arguments)[1]
    if option := next((word.split("=")[0] for word in unknown if word.startswith("--")), None):
        options = [f"--{name.replace('_', '-')}" for name, _ in named[family].get_params()]
        raise SettingError(f"{option} is no parameter of {family}: {did_you_mean(option, options)}")
    # One question: each class asks what lies in a folder.
    with one_question(), CmdlineParser.global_instance(arguments, allow_override=True):
        file = core().logging_conf_file
        try:
            config_check.logging_file(file)
        except ValueError as error:
            raise SettingError(f"--logging-conf-file {file}: {error}") from None
        try:
            task: luigi.Task = CmdlineParser.get_instance().get_task_obj()
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


def _message_alone(record: logging.LogRecord) -> bool:
    """A filter for Luigi's log: without a traceback where a person can mend the error. Luigi logs one as such, or as a
    part of a message."""
    if record.exc_info and isinstance(error := record.exc_info[1], GreenrError):
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {error}", (), None
    elif record.levelno >= logging.WARNING:
        names = "|".join(re.escape(f"{kind.__module__}.{kind.__qualname__}") for kind in _kinds(GreenrError))
        record.msg = re.sub(rf"(?sm)(?<= method:\n).*^(?:{names}): ", "", record.getMessage())
        record.args = ()
    return True


def _kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
