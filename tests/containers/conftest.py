from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE
from tests.containers.engine import Engine, missing, pip_settings


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With all images, and containers' networks. Processes of pytest wait for each other, and build them once."""
    if why := missing():
        pytest.skip(f"no Docker engine can be run here: {why}")
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = Engine(Path(os.environ.get("GREENR_TEST_DOCKER") or run / "docker"))
    made.folder.mkdir(exist_ok=True, parents=True)
    with (made.folder / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        try:
            made.start(isolated=False)
            made.import_base()
            with pip_settings(tmp_path_factory.mktemp("secrets")) as secrets:
                for target in ("serve", "pipeline", "nginx"):
                    made.build(target, PACKAGE.parent, secrets)
            made.stop()
            made.start(isolated=True)
            yield made
        finally:
            made.stop()
