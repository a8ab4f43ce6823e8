"""The examples of docs/extending.md, as they stand there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from greenr_luigi.sources import registry
from tasks import DownloadImages
from tests import tiny_release
from tests.pipeline import REPOSITORY
from tests.sources.conftest import picture

DOCUMENT = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")


def example(first_line: str) -> str:
    """The block of Python that begins so."""
    (block,) = re.findall(rf"```python\n({re.escape(first_line)}.*?)```", DOCUMENT, re.S)
    return str(block)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a person's own modules, which Python finds."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("archive", "opening_hours"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_source_is_a_module_and_a_line(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (written / "archive.py").write_text(example("# archive.py"))
    monkeypatch.setattr(registry, "SOURCES", dict(registry.SOURCES))
    exec(example("# sitecustomize.py"))
    (written / "archive").mkdir()
    for number in range(12):
        (written / "archive" / f"grass-{number}.jpg").write_bytes(picture(number))
    task = DownloadImages(
        root=written / "data",
        source="archive",
        folder=None,
        limit=0,
        license="",
        refresh_days=1,
        label="grass",
    )
    task.run()
    assert task.complete() and task.stamp().summary["pictures"] == 12
    files = set(task.stamp().code)
    assert "archive.py" in files and not any("registry" in file or "bing" in file for file in files)
    (written / "archive" / "grass-12.jpg").write_bytes(picture(12))
    assert task.stale_because() == "the archive file grass-12.jpg was added"


def test_the_stage_of_the_document_is_the_one_that_is_tested() -> None:
    package = REPOSITORY / "tests" / "extending" / "phone_pack" / "__init__.py"
    assert example("# phone_pack/__init__.py").partition("\n")[2] == package.read_text()


def test_the_recipe_of_the_document_is_the_one_that_is_tested() -> None:
    text = (REPOSITORY / "tests" / "training" / "test_recipes.py").read_text()
    function, _, entry = example("def fit_untrained").partition("\n\n\nRecipe(")
    assert function in text and entry.split(",")[0] in text


@pytest.mark.slow
def test_a_page_on_top_of_the_application(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (written / "opening_hours.py").write_text(example("# opening_hours.py"))
    tiny_release.deploy(written / "releases")
    monkeypatch.setenv("GREENR_STORE", str(written / "releases"))
    app = importlib.import_module("opening_hours").app()
    with TestClient(app) as client:
        answer = client.get("/opening-hours")
        assert answer.text == f"Open day and night; {len(tiny_release.CLASSES)} classes."
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert client.get("/readyz", headers={"Host": "localhost"}).json()["ready"]
