"""A server that others start and stop, as in a container beside the pipeline's. It follows `current` of the same store;
what it serves is what its /readyz says, and nothing else of it is known here."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from pathlib import Path
from typing import Any

import msgspec

from greenr_luigi.serving import releases
from greenr_luigi.serving.sockets import ServerError

#: Seconds for one question, and between two of them.
ASK_TIMEOUT, POLL = 2.0, 0.1


def address(text: str) -> str:
    """Such as http://app:8008; ValueError for what is none."""
    url = urllib.parse.urlsplit(text)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    bare = f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}"
    if url.scheme not in ("http", "https") or not host or text.lower().removesuffix("/") != bare:
        raise ValueError("expected an address such as http://app:8008, without a path")
    return bare


def ask(server: str) -> dict[str, Any]:
    """What it says at /readyz. Raises ServerError where it does not, with why not."""
    url = urllib.parse.urlsplit(server)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=ASK_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        said = msgspec.json.decode(connection.getresponse().read(), type=dict[str, Any])
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise ServerError(f"no server answers at {server}/readyz ({error}): start it there") from None
    finally:
        connection.close()
    if refused := said.get("error"):
        raise ServerError(f"{server}/readyz: {refused.get('message')}")
    return said


def not_ready(server: str, digest: str) -> str | None:
    """Why it does not serve a release, in words; None if each of its workers does."""
    try:
        return _another(server, ask(server), digest)
    except ServerError as error:
        return str(error)


def wait(server: str, store: Path, digest: str, timeout: float) -> None:
    """Wait until each of its workers serves a release of `store`. Raises ServerError if one refuses it, or `timeout`
    seconds have passed."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            said = ask(server)
            cause = _another(server, said, digest)
            message = cause and _refusal(said, store, digest)
        except ServerError as error:
            cause, message = str(error), None
        if cause is None:
            return
        if message:
            raise ServerError(f"the server at {server} refuses the release: {message}")
        if time.monotonic() > deadline:
            raise ServerError(
                f"{cause} after {timeout:g} seconds: see its log, and that it has the same data"
            )
        time.sleep(POLL)


def _another(server: str, said: dict[str, Any], digest: str) -> str | None:
    """What it serves in the place of a release, in words; None if each of its workers serves that."""
    serve = [said.get("release"), *(worker.get("digest") for worker in said.get("workers", ()))]
    if all(release == digest for release in serve):
        return None
    return f"the server at {server} answers with {serve[0] or 'no release'}, not with {digest}"


def _refusal(said: dict[str, Any], store: Path, digest: str) -> str | None:
    # One of a release that has been published anew since says nothing of the new one.
    identity = list(releases.identity(store, digest) or ())
    problems = (one.get("problem") for one in (said, *said.get("workers", ())))
    found = (one for one in problems if one and (one["digest"], one["seen"]) == (digest, identity))
    return next((str(one["message"]) for one in found), None)
