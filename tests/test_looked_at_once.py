"""Each picture is looked at once, ever: rejecting one has none of the others decoded again, and what comes of it is
what a run from nothing makes, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenr_luigi import kept
from greenr_luigi.dataset.rows import SplitRow, read_manifest
from greenr_luigi.deployment import gallery, gate
from greenr_luigi.evaluation import evaluate
from greenr_luigi.export import onnx_export, quantization
from greenr_luigi.pictures import door, manifest
from greenr_luigi.training import train
from tests import walk
from tests.noted import noted
from tests.progress import quiet

pytestmark = pytest.mark.slow


def made(dataset: Path, out: Path, root: Path, recipe: str = "head") -> dict[str, bytes]:
    """All that the stages from TrainModel on write of a data set."""
    model, evaluation, export, shown = (out / name for name in ("model", "evaluation", "export", "shown"))
    for folder in (model, evaluation, export, shown):
        folder.mkdir(parents=True)
    how = train.Hyperparameters(
        "tf_efficientnet_lite0", epochs=2, seed=3, image_size=walk.SIZE, recipe=recipe
    )
    train.train(dataset, model, how, on_progress=quiet, root=root)
    evaluate.evaluate(dataset, model, evaluation, on_progress=quiet, root=root)
    onnx_export.export(dataset, model, evaluation, export, on_progress=quiet, root=root)
    gate.judge(export, export, dataset, gate.Limits(), root)
    gallery.write_gallery(dataset, shown, root)
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


@pytest.mark.parametrize("recipe", ["views", "finetune"])
def test_what_is_pruned_is_nothing_that_the_next_run_looks_for(tmp_path, monkeypatch, recipe):
    """After each good run `greenr run` prunes."""
    monkeypatch.setattr(quantization, "LEAST_PICTURES", 1)
    dataset, root = walk.drawn(tmp_path / "dataset"), tmp_path / "root"
    first = made(dataset, tmp_path / "first", root, recipe)
    assert kept.superfluous(root, 1) == []
    before = {path: path.stat().st_size for path in root.rglob("*")}
    assert len([path for path in before if path.parent.name == kept.FEATURES]) >= 3
    assert made(dataset, tmp_path / "again", root, recipe) == first
    assert {path: path.stat().st_size for path in root.rglob("*")} == before


def test_rejecting_one_picture_has_no_other_decoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "LEAST_PICTURES", 1)
    monkeypatch.setattr(onnx_export, "PARITY_PICTURES", 2)
    decoded = noted(monkeypatch, door, "read")
    dataset, root = walk.drawn(tmp_path / "dataset"), tmp_path / "root"
    rows = read_manifest(dataset)
    made(dataset, tmp_path / "first", root)
    assert {*map(door.sha256, decoded)} >= {row.sha256 for row in rows}
    rejected = next(row for row in rows if row.side == "train")
    (dataset / rejected.file).unlink()
    manifest.write_csv(dataset / "manifest.csv", [row for row in rows if row != rejected], SplitRow)
    decoded.clear()
    again = made(dataset, tmp_path / "again", root)
    # fastai is asked about some in its own pipeline, to see that it says what ONNX Runtime says.
    assert len(decoded) == onnx_export.PARITY_PICTURES
    assert again == made(dataset, tmp_path / "cold", tmp_path / "other")
    judged = [row for row in rows if row.side != "test" and row != rejected]
    assert (
        len(decoded) > len(rows) > json.loads(again["export/model.json"])["int8"]["pictures"] == len(judged)
    )
