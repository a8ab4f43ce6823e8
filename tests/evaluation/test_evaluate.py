import json

import numpy as np
import pytest

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation import calibration, evaluate
from greenr_luigi.evaluation.metrics import ClassMetrics, DataCounts
from greenr_luigi.evaluation.predictions import Prediction, Predictions, read_predictions
from tests import walk
from tests.progress import quiet
from tests.training.test_train import without

pytestmark = pytest.mark.slow


def test_writes_what_the_contract_says():
    folders = walk.walk()
    assert sorted(p.name for p in folders.evaluation.iterdir()) == [
        "centers.npy",
        "label_issues.csv",
        "metrics.json",
        "predictions.csv",
        "report.html",
    ]
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert metrics["pictures"] == {"valid": 6, "test": 6}
    assert np.sum(metrics["confusion"]) == 6
    assert metrics["accuracy"] == pytest.approx(np.trace(metrics["confusion"]) / 6)
    assert metrics["data"]["counts"]["train"] == {"disc": 6, "three": 6}


def test_predictions_tell_the_metrics_again():
    folders = walk.walk()
    held_out = read_predictions(folders.evaluation / "predictions.csv")
    classes, rows = held_out.classes, held_out.rows
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert classes == ["disc", "three"] and {row.side for row in rows} == {"valid", "test"}
    assert [row.predicted for row in rows] == [classes[i] for i in held_out.logits.argmax(1)]
    right = [row.predicted == row.label for row in rows if row.side == "test"]
    assert np.mean(right) == metrics["accuracy"]


def test_same_bytes_again(tmp_path):
    folders = walk.walk()
    evaluate.evaluate(folders.dataset, folders.model, tmp_path, on_progress=quiet, command="luigi X")
    for file in folders.evaluation.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def held_out(classes, rows, logits, familiarity):
    return Predictions(
        classes,
        [
            Prediction(row.file, row.label, row.side, classes[k], f)
            for row, k, f in zip(rows, logits.argmax(1), familiarity.tolist(), strict=True)
        ],
        logits,
    )


NO_COUNTS = DataCounts("", {})


def test_temperature_and_threshold_do_not_see_the_test_pictures():
    rows = pixels.read_rows(walk.walk().dataset, "valid", "test")
    test = np.array([row.side == "test" for row in rows])
    generator = np.random.default_rng(0)
    logits, familiarity = generator.normal(0, 1, (len(rows), 2)), generator.uniform(0, 1, len(rows))
    others, farther = np.where(test[:, None], -7 * logits, logits), np.where(test, 0, familiarity)
    first = evaluate.measure(held_out(["disc", "three"], rows, logits, familiarity), NO_COUNTS)
    second = evaluate.measure(held_out(["disc", "three"], rows, others, farther), NO_COUNTS)
    for name in ("temperature", "threshold", "familiarity"):
        assert getattr(first, name) == getattr(second, name)
    assert (second.unfamiliar, second.coverage, second.error_of_answered) == (1, 0, None)
    assert first.loss != second.loss


def test_metrics_by_hand():
    """A model that calls everything a disc."""
    rows = pixels.read_rows(walk.walk().dataset, "valid", "test")
    logits = np.tile([1.0, 0, 0], (len(rows), 1))
    metrics = evaluate.measure(
        held_out(["disc", "else", "three"], rows, logits, np.zeros(len(rows))), NO_COUNTS
    )
    assert metrics.confusion == [[3, 0, 0], [0, 0, 0], [3, 0, 0]]
    assert metrics.per_class == {
        "disc": ClassMetrics(0.5, 1.0, 3),
        "else": ClassMetrics(None, None, 0),
        "three": ClassMetrics(None, 0.0, 3),
    }
    assert metrics.error_interval == pytest.approx(calibration.wilson(3, 6))
    assert metrics.threshold == pytest.approx(calibration.softmax(logits[:1], metrics.temperature).max())
    assert metrics.coverage == 1 and metrics.familiarity == 0


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
    with pytest.raises(pixels.DataSetError, match="'test', expected at least one"):
        evaluate.evaluate(dataset, walk.walk().model, tmp_path, on_progress=quiet)
    strange = walk.drawn(tmp_path / "s", ("disc", "four"), each=4)
    with pytest.raises(pixels.DataSetError, match=r"does not know \['four'\], it knows \['disc', 'three'\]"):
        evaluate.evaluate(strange, walk.walk().model, tmp_path, on_progress=quiet)
