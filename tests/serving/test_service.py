"""What of a running server is not as wanted, in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.serving.launch import as_loaded
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.service import Service, difference
from greenr_luigi.serving.state import ServerNote
from greenr_luigi.staleness.code import CodeTrace

Change = Callable[[ServerNote], ServerNote]
APP = "greenr_luigi/web/app.py"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    (tmp_path / "releases").mkdir()
    return Service(tmp_path / "releases", tmp_path / "server", workers=2)


def started(service: Service) -> Running:
    note = as_loaded(replace(service.note(), port=8008, launch="metrics-1"))
    return Running(pid=1, parent=0, note=note)


def setting(name: str, value: str | None) -> Change:
    return lambda note: replace(note, settings={**note.settings, name: value})


def version(library: str, value: str | None) -> Change:
    return lambda note: replace(note, versions={**note.versions, library: value})


def test_one_that_was_started_so_is_as_wanted(service: Service) -> None:
    assert difference(started(service), service.note()) is None
    assert difference(started(service), replace(service, port=8008).note()) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda note: replace(note, host="0.0.0.0"), "the server's --host: 0.0.0.0 -> 127.0.0.1"),
        (lambda note: replace(note, port=9000), "the server's --port: 9000 -> 8008"),
        (setting("--web-workers", "1"), "the server's --web-workers: 1 -> 2"),
        (setting("GREENR_ROOT_PATH", "/app"), "the server's GREENR_ROOT_PATH: /app -> none"),
        (setting("GREENR_QUEUE", "9"), "the server's GREENR_QUEUE: 9 -> none"),
        (version("gunicorn", "1.0"), "the server's gunicorn: 1.0 -> 26."),
        (version("starlette", None), "the server's starlette: none -> 1."),
        (setting("Python", "3.11.0 in /usr"), "the server's Python: 3.11.0 in /usr -> 3."),
        (
            lambda note: replace(note, code={**note.code, APP: CodeTrace(bytes="", syntax="")}),
            f"code of {APP} changed",
        ),
        (lambda note: replace(note, assets={}), "the page's assets is a new input"),
        (lambda note: replace(note, store="/"), "the server's folder was moved, or deleted under it"),
        (lambda note: ServerNote(), "the server does not say how it was started"),
    ],
)
def test_what_is_not_as_wanted_is_said(service: Service, change: Change, words: str) -> None:
    running = started(service)
    running = replace(running, note=change(running.note))
    assert str(difference(running, replace(service, port=8008).note())).startswith(words)


def test_where_and_by_which_name_a_run_was_started_does_not_count(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = replace(service, workers=0)
    running = started(service)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(sys, "executable", f"{sys.executable}3")
    environment = tmp_path / "a link to the same environment"
    environment.symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(environment))
    assert difference(running, service.note()) is None


def test_a_folder_that_was_deleted_or_is_another_users_is_said(service: Service) -> None:
    gone = replace(started(service), at_home=False)
    assert difference(gone, service.note()) == "the server's folder was moved, or deleted under it"
    foreign = Running(pid=7, parent=1, user=1000)
    assert difference(foreign, service.note()) == "the server (process 7) belongs to user 1000"


def test_a_variable_that_was_set_since_counts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    running = started(service)
    monkeypatch.setenv("GREENR_FEEDBACK", "1")
    assert difference(running, service.note()) == "the server's GREENR_FEEDBACK: none -> 1"


def test_the_store_counts_by_what_it_is(service: Service) -> None:
    running = started(service)
    link = service.store.with_name("another name")
    link.symlink_to(service.store)
    assert difference(running, replace(service.note(), store=str(link))) is None
