"""A folder for a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.serving import server


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with a space in its name, whose server is stopped in the end."""
    folder = tmp_path / "a place"
    folder.mkdir()
    yield folder
    server.stop(folder / "server")
