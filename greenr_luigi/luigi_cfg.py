"""The files that Luigi reads its configuration from. Luigi itself ends in a traceback, while it is imported, where one
of them does not parse, and leaves out one that it may not read."""

from __future__ import annotations

import configparser
import contextlib
import io
import locale
import os
import re
from pathlib import Path

from greenr_luigi.errors import SettingError
from greenr_luigi.staleness import regular

#: Later ones hold. As in Luigi, which may not have been imported yet.
NAMES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
BOM = b"\xef\xbb\xbf"
#: Options, here or of Luigi, whose values are for nobody else to see: an address to notify is a password.
SECRET = re.compile(r"urls|.*(pass|secret|token|key|connection)", re.IGNORECASE)
#: Read while Luigi is imported: true or false.
AUTOLOAD = ("autoload_range", "autoload-range")


def paths() -> list[Path]:
    named = os.environ.get("LUIGI_CONFIG_PATH")
    return [Path(name) for name in (*NAMES, *([named] if named else []))]


def check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise SettingError("the working directory was deleted: change to one that is there") from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except PermissionError:
        raise SettingError(
            f"nobody can tell whether there is a {path}, as its folder may not be looked into: mend the folder's "
            "permissions, or start elsewhere"
        ) from None


def check() -> None:
    """Raises SettingError for a file that Luigi cannot read, or would leave out without a word, and where there is no
    working directory in which it could look."""
    check_working_directory()
    if os.environ.get("LUIGI_CONFIG_PARSER") == "toml":
        raise SettingError("LUIGI_CONFIG_PARSER is toml, which luigi.cfg is not: unset it")
    named = os.environ.get("LUIGI_CONFIG_PATH")
    if named and not Path(named).is_file():
        raise SettingError(
            f"LUIGI_CONFIG_PATH is {named}, and there is no such file: correct it, or unset it"
        )
    if named and named.endswith(".toml"):
        raise SettingError(f"LUIGI_CONFIG_PATH is {named}: expected a file like luigi.cfg, not TOML")
    for path in paths():
        if _is_there(path):
            _parse(path)


def says_nothing() -> bool:
    """Whether there is no file that sets anything: none at all, or one that was cut to nothing."""
    parsed = map(_parse, filter(_is_there, paths()))
    return not any(parser.sections() or parser.defaults() for parser in parsed)


def file_of(section: str) -> str:
    """The file, of those that Luigi reads, that has a section."""
    for path in reversed(paths()):
        file = _parse(path) if _is_there(path) else configparser.RawConfigParser()
        if file.has_section(section) or (section == file.default_section and file.defaults()):
            return str(path)
    return "luigi.cfg"


def readable() -> configparser.ConfigParser:
    """What can be read of the files although not all of it parses."""
    found = configparser.ConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    for path in paths():
        with contextlib.suppress(OSError, configparser.Error):
            text = regular.read(path).decode(errors="replace")
            # A line above the first section would be the end of it.
            found.read_string(
                re.sub(r"\A.*?^(?=\[[^]\n]+\])", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
            )
    return found


def variables() -> set[str]:
    """The environment variables that are named there, as ${NAME}."""
    config = readable()
    texts = (text for section in config.sections() for _, text in config.items(section, raw=True))
    return {name for text in texts for name in re.findall(r"\$\{([^}]+)\}", text)}


def shown(section: str, option: str, value: str) -> str:
    """A value as it may be told to whoever reads a log. In [notify], a wrong name has an address behind it, too."""
    return "…" if section == "notify" or SECRET.match(option) else value


def _shown(line: str) -> str:
    """A line that is not what it should be, and so any part of it may be the value of what is secret."""
    option = re.split(r"[\s=:]", line, maxsplit=1)[0]
    if SECRET.match(option):
        return f"{option} …"
    return re.sub(r"://.*", "://…", line)


def _parse(path: Path) -> configparser.RawConfigParser:
    """A file as Luigi parses it. Raises SettingError where that cannot be."""
    file, lines = configparser.RawConfigParser(), [*io.StringIO(_read(path), newline=None)]
    file.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        file.read_file(lines, str(path))
    except configparser.Error as error:
        number = error.lineno if hasattr(error, "lineno") else error.errors[0][0]  # type: ignore[attr-defined]
        line = _shown(lines[number - 1].strip())
        raise SettingError(f"{path}, line {number}: {line}: {_remedy(error)}") from None
    for section in file.sections():
        # Luigi takes both for one option, and then only the first.
        if option := next(
            (o for o in file[section] if "-" in o and o.replace("-", "_") in file[section]), None
        ):
            raise SettingError(f"{path}: [{section}] {option}: it stands there with _, too: keep one")
    for option in AUTOLOAD:
        value = file.get("core", option, fallback="true")
        if value.lower() not in file.BOOLEAN_STATES:
            raise SettingError(f"{path}: [core] {option} = {value}: expected true or false")
    return file


def _remedy(error: configparser.Error) -> str:
    match error:
        case configparser.MissingSectionHeaderError():
            return "write the section that it belongs to above it, such as [TrainModel]"
        case configparser.DuplicateSectionError():
            return "there is such a section already: make one of both"
        case configparser.DuplicateOptionError():
            return f"[{error.section}] has {error.option} already: keep one"
    return "expected `option = value`, or a [section]"


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise SettingError(f"{path}: expected a file; move what is there out of the way")
    try:
        data = regular.read(path)
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror}): mend that, or remove it") from None
    if data.startswith(BOM):
        raise SettingError(f"{path}, line 1: it begins with a byte order mark (BOM): save it without")
    encoding = locale.getpreferredencoding(False)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not {encoding}: save it as {encoding}"
        ) from None
