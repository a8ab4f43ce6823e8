"""What the model page shows of a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenr_luigi import run_history
from greenr_luigi.run_history import Event
from greenr_luigi.serving import publishing
from greenr_luigi.web import model_page
from greenr_luigi.web.model_page import read_model_page, read_trend
from tests import tiny_release


def test_a_full_release(tmp_path: Path) -> None:
    digest = tiny_release.deploy(tmp_path / "releases", evaluated=True)
    full = read_model_page(tmp_path / "releases" / digest)
    assert full.metrics is not None and full.metrics.classes == sorted(tiny_release.CLASSES)
    ((file, picture),) = full.cell("dandelion", "grass")
    assert file.startswith("test/") and picture in full.pictures
    assert full.cell("dandelion", "no such class") == []
    assert len(full.samples("grass")) == model_page.SAMPLES and full.created
    assert full.origins[0].pictures == 240
    assert full.counts["grass"] == {"test": 10, "train": 80, "valid": 10}
    assert full.counts[""] == {"test": 30, "train": 240, "valid": 30}
    assert full.accuracy_interval == (1 - 0.256, 1 - 0.035)


def test_a_release_that_carries_nothing(tmp_path: Path) -> None:
    digest = tiny_release.publish(tmp_path / "releases")
    bare = read_model_page(tmp_path / "releases" / digest)
    assert bare.metrics is None and bare.origins == [] and bare.samples("grass") == [] and bare.created


def test_a_release_of_before_there_was_familiarity(tmp_path: Path) -> None:
    exported = tiny_release.export(tmp_path / "export")
    tiny_release.evaluation(exported)
    metrics = json.loads((exported / "metrics.json").read_text())
    for name in ("familiarity", "unfamiliar", "cross_validation"):
        del metrics[name]
    (exported / "metrics.json").write_text(json.dumps(metrics))
    rows = (
        (exported / "predictions.csv").read_text().replace(",familiarity", "").replace(",0.5,0,0,0", ",0,0,0")
    )
    (exported / "predictions.csv").write_text(rows)
    store = tmp_path / "releases"
    old = read_model_page(store / publishing.publish(store, exported.iterdir()))
    assert old.metrics is not None and old.metrics.accuracy == 0.9 and old.metrics.cross_validation is None
    assert len(old.tested) == 30


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    exported = tiny_release.export(tmp_path / "export")
    tiny_release.evaluation(exported)
    (exported / "predictions.csv").write_text("file,label,side,logit:grass\na.png,grass,test\n")
    (exported / "sources.json").write_text('{"sources": [null, {"engine": "bing"}, {}]}')
    (exported / "metrics.json").write_text('{"accuracy": null}')
    torn = read_model_page(exported)
    assert torn.metrics is None and torn.origins == [] and torn.tested == []


def test_the_models_one_after_the_other_by_the_history_beside_the_store(tmp_path: Path) -> None:
    store = tmp_path / "releases"
    assert read_trend(store) is None
    for number in range(3):
        summary = {"accuracy": 0.9 + number / 100, "pictures": 300}
        event = Event(kind="run", name="DeployApp", outcome="deployed", seconds=9, summary=summary)
        run_history.append(tmp_path, event, pytest.fail)
        drawn = read_trend(store)
        assert (drawn is not None and len(drawn.points) == number + 1) or number == 0
    (tmp_path / "history.jsonl").write_text('{"kind": "run"}\nno JSON\n')
    assert read_trend(store) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda metrics: metrics["confusion"].pop(),
        lambda metrics: metrics["confusion"][0].update({"3": 1}),
        lambda metrics: metrics["confusion"][0].update({"-1": 1}),
        lambda metrics: metrics["classes"].pop(),
        lambda metrics: metrics["data"]["counts"].pop("valid"),
        lambda metrics: metrics["data"].update(counts={"grass": {"train": 1, "valid": 1, "test": 1}}),
    ],
)
def test_tables_that_do_not_fit_together_are_left_out(
    tmp_path: Path, damage: Callable[[Any], object]
) -> None:
    exported = tiny_release.export(tmp_path / "export")
    tiny_release.evaluation(exported)
    metrics = json.loads((exported / "metrics.json").read_text())
    damage(metrics)
    (exported / "metrics.json").write_text(json.dumps(metrics))
    assert read_model_page(exported).metrics is None
