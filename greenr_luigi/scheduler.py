"""Which scheduler a run asks: that of luigi.cfg, that of a dashboard of its root, or none."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import Any

from luigi.interface import core

from greenr_luigi import config_check
from greenr_luigi.dashboard import running

#: By which luigi.cfg names a scheduler, also with dashes.
SCHEDULERS = (
    "scheduler_host",
    "scheduler_port",
    "default_scheduler_host",
    "default_scheduler_port",
    "scheduler_url",
)


def choose(config: Any, root: Path) -> None:
    """Where luigi.cfg names no scheduler, the dashboard of the root is asked if it answers, and else none: Luigi
    schedules by itself."""
    if named(config):
        return
    found = running.answering(root)
    config.set("core", "local_scheduler", config_check.Default("false" if found else "true"))
    if found:
        config.set("core", "scheduler_url", config_check.Default(found.url))
        # A proxy of the environment does not lead to this machine.
        before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        host = str(urllib.parse.urlsplit(found.url).hostname)
        os.environ["no_proxy"] = ",".join(filter(None, [before, host]))


def named(config: Any) -> str:
    """The address of the scheduler that luigi.cfg names; empty if it names none."""
    if not any(config.has_option("core", name) for name in SCHEDULERS):
        return ""
    written = core()
    return str(written.scheduler_url or f"http://{written.scheduler_host}:{written.scheduler_port}").rstrip(
        "/"
    )
