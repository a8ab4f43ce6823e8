"""Where a person is told: the addresses of [notify] in luigi.cfg, through Apprise. Nothing here shows what is secret in
an address, which is all behind its `://`.

Luigi is not imported: where luigi.cfg does not parse, that is told."""

from __future__ import annotations

import configparser
import hashlib
import logging
import os
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Literal

from greenr_luigi import luigi_cfg
from greenr_luigi.errors import SettingError
from greenr_luigi.staleness.shown import printable
from greenr_luigi.text import did_you_mean

SECTION, OPTION = "notify", "urls"
WHERE = f"luigi.cfg: [{SECTION}] {OPTION}"
#: Seconds in which an address must have taken a message.
PATIENCE = 60.0
EXAMPLE = "mailto://user:password@example.org, slack://... or ntfy://ntfy.sh/..."

Kind = Literal["failure", "warning", "success", "info"]


@dataclass(frozen=True)
class Address:
    """`name`: for people, without what is secret."""

    url: str = field(repr=False)
    name: str

    @property
    def key(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def check(self) -> None:
        """Raises SettingError where Apprise is missing, or makes nothing of the address."""
        self._plugin()

    def send(self, title: str, body: str, kind: Kind) -> str | None:
        """Send a message. Returns why it was not taken, None if it was."""
        # A line break would end the head of a mail, and what is no Unicode ends it all.
        title, body = printable(" ".join(title.split())), "\n".join(map(printable, body.splitlines()))
        ended: list[str | None] = []
        # Whoever takes a byte at a time may take for ever. What hangs ends with the process.
        thread = threading.Thread(target=lambda: ended.append(self._send(title, body, kind)), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        return ended[0] if ended else f"it did not take it within {PATIENCE:.0f} seconds"

    def _send(self, title: str, body: str, kind: Kind) -> str | None:
        try:
            plugin = self._plugin()
        except SettingError as error:
            return str(error)
        import apprise

        # Better the beginning of a message than none where its end is too much.
        if plugin.overflow_mode == apprise.OverflowMode.UPSTREAM:
            plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
        service = apprise.Apprise()
        service.add(plugin)
        with _Heard() as heard:
            taken = service.notify(body, title, apprise.NotifyType(kind), apprise.NotifyFormat.TEXT)
        return None if taken else self._without_secrets(heard.words or "Apprise gives no reason")

    def _plugin(self) -> Any:
        try:
            import apprise
        except ImportError as error:
            missing = f"{WHERE} needs {error.name}: pip install 'greenr_luigi[notify]', or leave it empty"
            raise SettingError(missing) from None
        with _Heard():
            plugin = apprise.Apprise.instantiate(self.url, apprise.AppriseAsset(app_id="greenr"))
        if plugin is not None:
            return plugin
        schema = re.match(r"([\w.+-]+)://", self.url)
        known = sorted(apprise.manager_plugins.NotificationManager().schemas())
        if schema is None:
            wrong = f"expected {EXAMPLE}"
        elif schema[1].lower() not in known:
            wrong = f"there is no service {schema[1]}: {did_you_mean(schema[1], known)}"
        else:
            wrong = f"Apprise makes nothing of it: see how {schema[1]}:// is written on https://appriseit.com"
        raise SettingError(f"{WHERE}: {self.name}: {wrong}")

    def _without_secrets(self, words: str) -> str:
        """What Apprise says may quote parts of an address, as its host, which of many is the secret."""
        behind = self.url.partition("://")[2]
        parts = {*re.split(r"[^\w.-]+", behind), *re.split(r"[/@:?&=,;\s]+", urllib.parse.unquote(behind))}
        for part in sorted(parts - {""}, key=len, reverse=True):
            words = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "…", words)
        return words


def addresses() -> list[Address]:
    """Those of luigi.cfg, in so far as that can be read. Raises SettingError for one with a wrong percent sign, or that
    names an environment variable which there is not."""
    config = luigi_cfg.readable()
    try:
        text = config.get(SECTION, OPTION, fallback="")
    except configparser.InterpolationError:
        raise SettingError(f"{WHERE}: write %% for a percent sign") from None
    try:
        # An empty one is no address either.
        given = {name: value for name, value in os.environ.items() if value}
        text = re.sub(r"\$\{([^}]+)\}", lambda found: given[found[1]], text)
    except KeyError as error:
        raise SettingError(f"{WHERE}: there is no environment variable {error.args[0]}: set it") from None
    # As Apprise parts them: a comma may stand in an address.
    urls = [url for url in re.split(r"[\s,;]+(?=[\w.+-]+://)", text.strip(" \t\n,;")) if url]
    return [Address(url, _name(number, url)) for number, url in enumerate(dict.fromkeys(urls), 1)]


def needed() -> list[Address]:
    """As `addresses`. Raises SettingError if there are none, too."""
    found = addresses()
    if not found:
        raise SettingError(f"{WHERE}: expected who is to be told, such as {EXAMPLE}")
    return found


def _name(number: int, url: str) -> str:
    schema = re.match(r"[\w.+-]+://", url)
    return f"address {number} ({schema[0] if schema else ''}…)"


class _Heard(logging.Handler):
    """The first thing that Apprise complains of meanwhile, which then is logged nowhere else."""

    logger = logging.getLogger("apprise")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.words = self.words or " ".join(record.getMessage().split())

    def __enter__(self) -> _Heard:
        self.logger.addHandler(self)
        self.propagates, self.logger.propagate = self.logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.propagate = self.propagates
