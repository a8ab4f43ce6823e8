"""What a person may set about the web application: environment variables GREENR_*, one a field."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.text import Network, networks

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
#: The application's own addresses. A prefix must not begin with one: nobody could tell whether a proxy has already
#: taken it off.
OWN = re.compile(r"/(api|classify-url|feedback|form|healthz|metrics|model|readyz|static|upload)(/|$)")


class SettingsError(GreenrError):
    """A variable whose value cannot be used."""


@dataclass(frozen=True)
class Settings:
    """Every field may be given as an environment variable, `GREENR_` and its name in capitals."""

    #: The release store to serve.
    store: Path
    #: Where each worker writes what it serves (workers/<pid>.json); None: nowhere.
    run_dir: Path | None = None
    #: The path prefix under which visitors see the page, such as /app.
    root_path: str = ""
    #: Take the prefix from the header X-Forwarded-Prefix; only behind a proxy that always sets it.
    forwarded_prefix: bool = False
    #: Pictures that a worker decodes and classifies at a time. One worker a core, so one.
    threads: int = 1
    #: Compute in 8-bit integers where the processor is fast with them and the release has been checked to agree.
    int8: bool = True
    #: Pictures that may wait in a worker; of more, those of who has most are answered 503 with Retry-After.
    queue: int = 16
    #: Pictures in one request.
    batch: int = 16
    #: Bytes of uploads that a worker holds at a time, over all requests.
    held_bytes: int = 8 * MAX_BYTES
    #: Seconds from a connection, or from the last answer on it, to the end of the next request's headers.
    header_seconds: float = 15.0
    #: Seconds in which a request's body must have arrived.
    body_seconds: float = 20.0
    #: Seconds in which a request must be answered, body included.
    answer_seconds: float = 60.0
    #: Seconds that one picture may take; a worker that is held longer is replaced.
    picture_seconds: float = 20.0
    #: Seconds in which a release must be loaded and tested; a worker does that twice, at first on trial.
    load_seconds: float = 20.0
    #: Whether addresses of pictures are fetched at all.
    fetch: bool = True
    #: Seconds for one address, redirects included.
    fetch_seconds: float = 10.0
    #: Ports that an address may name.
    fetch_ports: tuple[int, ...] = (80, 443)
    #: Networks that are not public and yet may be fetched from, such as an archive on the intranet.
    fetch_allow: tuple[Network, ...] = ()
    #: Whether visitors' corrections are kept, beside the store.
    feedback: bool = False
    #: Names besides this machine's own under which feedback is taken and the operator's addresses answer.
    allowed_hosts: tuple[str, ...] = ()
    #: Proxies that are believed when they say for whom they ask (X-Forwarded-For).
    trusted_proxies: tuple[Network, ...] = ()
    #: Bytes of the log after which it is rotated, and how many files there are then, with the one that is written.
    log_bytes: int = 10 << 20
    log_files: int = 5


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Settings from GREENR_* variables; raises SettingsError for a value that cannot be used."""
    values: dict[str, object] = {}
    for field in fields(Settings):
        name = f"GREENR_{field.name.upper()}"
        if name in environ:
            try:
                values[field.name] = reader(field.name)(environ[name])
            except ValueError as error:
                raise SettingsError(f"{name}={environ[name]!r}: {error}") from None
    if "store" not in values:
        raise SettingsError("GREENR_STORE is not set: expected the folder of the releases to serve")
    return Settings(**values)  # type: ignore[arg-type]


def reader(name: str) -> Callable[[str], Any]:
    """What reads the text of a setting; it raises ValueError for what cannot be used."""
    return READERS[next(str(field.type) for field in fields(Settings) if field.name == name)]


def prefix(text: str) -> str:
    """A path prefix without its last slash; ValueError for what could change a page that shows it."""
    text = text.rstrip("/")
    if not PREFIX.fullmatch(text):
        raise ValueError("expected a path prefix such as /app, of letters, digits and . _ ~ -")
    if own := OWN.match(text):
        raise ValueError(f"/{own[1]} is an address of the page itself; expected another prefix, such as /app")
    return text


def flag(text: str) -> bool:
    yes, no = ("1", "true", "yes"), ("0", "false", "no", "")
    if text.lower() not in yes + no:
        raise ValueError("expected 1 or 0")
    return text.lower() in yes


def positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("expected a whole number, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    if not 0 < float(text) < 3600:
        raise ValueError("expected seconds, more than 0 and less than 3600")
    return float(text)


def ports(text: str) -> tuple[int, ...]:
    return tuple(positive(part.strip()) for part in text.split(","))


def host_name(text: str) -> str:
    """A host's name or address in one spelling: small letters, no brackets, no dot at the end, as `xn--` where it has
    other letters. ValueError for what is none."""
    name = text[:256].strip().lower()
    with contextlib.suppress(ValueError):
        # An address may say on which of the machine's links it is.
        ip = ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0])
        return str(getattr(ip, "ipv4_mapped", None) or ip)
    with contextlib.suppress(UnicodeError):
        name = name.removesuffix(".").encode("idna").decode()
    if not HOST_NAME.fullmatch(name):
        raise ValueError(
            f"expected a name or an address, such as example.org, without scheme, port or path, not {text[:100]!r}"
        )
    return name


def host_names(text: str) -> tuple[str, ...]:
    return tuple(host_name(part) for part in text.split(",") if part.strip())


READERS: dict[str, Callable[[str], object]] = {
    "Path": Path,
    "Path | None": Path,
    "str": prefix,
    "bool": flag,
    "int": positive,
    "float": seconds,
    "tuple[int, ...]": ports,
    "tuple[Network, ...]": networks,
    "tuple[str, ...]": host_names,
}
