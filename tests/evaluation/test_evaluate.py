import json

import numpy as np
import pytest

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation import calibration, evaluate
from greenr_luigi.progress import quiet
from greenr_luigi.training import saved_model
from tests import walk
from tests.training.test_train import without


def test_writes_what_the_contract_says():
    folders = walk.walk()
    assert sorted(p.name for p in folders.evaluation.iterdir()) == [
        "centers.npy", "metrics.json", "predictions.csv", "report.html", "suspects.csv",
    ]  # fmt: skip
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert metrics["pictures"] == {"valid": 6, "test": 6}
    assert np.sum(metrics["confusion"]) == 6
    assert metrics["accuracy"] == pytest.approx(np.trace(metrics["confusion"]) / 6)
    assert metrics["data"]["counts"]["train"] == {"disc": 6, "three": 6}


def test_predictions_tell_the_metrics_again():
    folders = walk.walk()
    classes, rows, logits = evaluate.read_predictions(folders.evaluation / "predictions.csv")
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert classes == ["disc", "three"] and {row["side"] for row in rows} == {"valid", "test"}
    assert [row["predicted"] for row in rows] == [classes[i] for i in logits.argmax(1)]
    right = [row["predicted"] == row["label"] for row in rows if row["side"] == "test"]
    assert np.mean(right) == metrics["accuracy"]


def test_same_bytes_again(tmp_path):
    folders = walk.walk()
    evaluate.evaluate(folders.dataset, folders.model, tmp_path, on_progress=quiet, command="luigi X")
    for file in folders.evaluation.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_temperature_and_threshold_do_not_see_the_test_pictures():
    rows = pixels.rows(walk.walk().dataset, "valid", "test")
    generator = np.random.default_rng(0)
    found = generator.normal(0, 1, (len(rows), 2))
    other = found.copy()
    other[[row.side == "test" for row in rows]] *= -7
    near = generator.uniform(0, 1, len(rows))
    farther = np.where([row.side == "test" for row in rows], 0, near)
    first = evaluate.measure(["disc", "three"], rows, found, near)
    second = evaluate.measure(["disc", "three"], rows, other, farther)
    for name in ("temperature", "threshold", "familiarity"):
        assert first[name] == second[name]
    assert second["unfamiliar"] == 1 and second["coverage"] == 0 and second["error_of_answered"] is None
    assert first["loss"] != second["loss"]


def test_metrics_by_hand():
    rows = pixels.rows(walk.walk().dataset, "test")
    said = np.zeros((6, 3))
    said[:, 0] = 1
    metrics = evaluate.measure(["disc", "else", "three"], rows, said, np.zeros(6))
    assert metrics["confusion"] == [[3, 0, 0], [0, 0, 0], [3, 0, 0]]
    assert metrics["per_class"]["disc"] == {"precision": 0.5, "recall": 1.0, "pictures": 3}
    assert metrics["per_class"]["else"] == {"precision": None, "recall": None, "pictures": 0}
    assert metrics["per_class"]["three"] == {"precision": None, "recall": 0.0, "pictures": 3}
    assert metrics["error_interval"] == pytest.approx(calibration.wilson(3, 6))
    assert metrics["temperature"] == pytest.approx(1, abs=1e-3) and metrics["threshold"] == 0


@pytest.mark.parametrize("label", ["disc", "three"])
def test_a_class_missing_on_a_side_is_no_obstacle(tmp_path, label):
    dataset = without(
        walk.walk().dataset, tmp_path / "d", lambda row: row.side != "train" and row.label == label
    )
    (tmp_path / "e").mkdir()
    evaluate.evaluate(dataset, walk.walk().model, tmp_path / "e", on_progress=quiet)
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["per_class"][label]["recall"] is None


def test_nothing_to_judge_by_is_an_error(tmp_path):
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == "test")
    with pytest.raises(saved_model.DataSetError, match="'test', expected at least one"):
        evaluate.evaluate(dataset, walk.walk().model, tmp_path, on_progress=quiet)
    strange = walk.drawn(tmp_path / "s", ("disc", "four"), each=4)
    with pytest.raises(
        saved_model.DataSetError, match=r"does not know \['four'\], it knows \['disc', 'three'\]"
    ):
        evaluate.evaluate(strange, walk.walk().model, tmp_path, on_progress=quiet)
