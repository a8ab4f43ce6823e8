"""A folder that knows what is run there: a luigi.cfg with just the lines that a person asked for."""

from __future__ import annotations

import configparser
import re
from collections.abc import Sequence
from pathlib import Path

import luigi
from luigi.configuration.cfg_parser import LuigiConfigParser

from greenr_luigi import files, settings
from greenr_luigi.about import DEFAULTS
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.operations.stages import deploying_stage, load_stages
from greenr_luigi.staleness import regular

NAME = "luigi.cfg"
HEAD = """\
# What is run in this folder, each line under the stage that owns it. The command line goes before it, and what stands
# in neither is as the defaults have it: `luigi --module {module} {family} --help`.
"""
#: Left for a person to fill in.
NOTIFY = """
[notify]
# Who hears that `greenr run` failed, and that it is mended: by mail, Slack, ntfy, a webhook, as https://appriseit.com
# writes it (pip install 'greenr_luigi[notify]'). `greenr notify` tries it. It is a secret: chmod 600 this file.
# urls = mailto://user:password@example.org, ntfy://ntfy.sh/a-name-that-nobody-guesses
"""


def init(folder: Path, options: Sequence[str], module: str = "tasks") -> Path:
    """Write a luigi.cfg with these parameters of the stage that deploys, given as for luigi. Returns its path.

    Raises SettingError for a parameter that is missing or not valid, GreenrError if there is a luigi.cfg already."""
    path = folder / NAME
    if path.exists() or path.is_symlink():
        raise GreenrError(f"{path} is there already: edit it, or name another folder")
    stages, family = load_stages(module), deploying_stage(module).get_task_family()
    task = settings.build_task(stages, ["--module", module, family, *options])
    given = {word[2:].split("=")[0].replace("-", "_") for word in options if word.startswith("--")}
    if task is None or given.isdisjoint({"classes", "folder"}):
        raise SettingError(
            "--classes is missing: name what is to be told apart, such as --classes dandelion,grass, or the folder "
            "that holds your pictures: --folder ~/pictures"
        )
    text = content(stages, {name: value for name, value in task.to_str_params().items() if name in given})
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path, (HEAD.format(module=module, family=family) + text + NOTIFY).encode())
    return path


def content(stages: settings.Stages, values: dict[str, str]) -> str:
    """Sections with these values, each under the first stage that has such a parameter, and below the reason for it."""
    text, left = "", dict(values)
    for stage in stages:
        section = stage.get_task_family()
        owned = [(name, parameter) for name, parameter in stage.get_params() if name in left]
        if owned:
            text += f"\n[{section}]\n"
        for name, parameter in owned:
            text += f"{reason(section, name, parameter)}{name} = {left.pop(name).replace('%', '%%')}\n"
    _check(text, values)
    return text


def reason(section: str, name: str, parameter: luigi.Parameter[object]) -> str:
    """The comment above a parameter in the packaged defaults; where there is none, what it is described as."""
    of_section = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", regular.read(DEFAULTS).decode(), re.M | re.S)
    comment = re.search(rf"((?:^#.*\n)+){name} =", of_section[1] if of_section else "", re.M)
    # What Luigi adds of a number's limits has no full stop before it.
    return comment[1] if comment else f"# {(parameter.description or '').split(' permitted values:')[0]}\n"


def _check(text: str, values: dict[str, str]) -> None:
    """That Luigi reads what was written: not everything can be, such as ${NAME}."""
    written = LuigiConfigParser()
    written.read_string(text)
    for section in written.sections():
        for name in written.options(section):
            try:
                read = written.get(section, name)
            except configparser.Error:
                read = None
            if read != values[name]:
                raise SettingError(
                    f"--{name.replace('_', '-')} {values[name]}: cannot be written in luigi.cfg"
                )
