import json
import shutil

import numpy as np
import pytest

from greenr_luigi import contracts
from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import LabelRow, read_labels
from greenr_luigi.evaluation import calibration, evaluate, familiarity
from greenr_luigi.evaluation.metrics import ClassMetrics, DataCounts, Metrics
from greenr_luigi.evaluation.predictions import Prediction, Predictions, read_predictions
from greenr_luigi.intervals import wilson
from greenr_luigi.training import architectures, features, folds
from tests import walk
from tests.progress import quiet
from tests.training.test_train import without

pytestmark = pytest.mark.slow


def test_writes_what_the_contract_says():
    folders = walk.walk()
    assert sorted(p.name for p in folders.evaluation.iterdir()) == [
        "centers.npy",
        "fold_centers.npy",
        "label_issues.csv",
        "metrics.json",
        "out_of_fold.csv",
        "predictions.csv",
        "report.html",
    ]
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert metrics["pictures"] == {"valid": 0, "test": 6}
    assert {name: metrics["cross_validation"][name] for name in ("folds", "pictures")} == {
        "folds": 5,
        "pictures": 18,
    }
    matrix = contracts.read(folders.evaluation / "metrics.json", Metrics).matrix
    assert np.sum(matrix) == 6
    assert metrics["accuracy"] == pytest.approx(np.trace(matrix) / 6)
    assert metrics["data"]["counts"]["train"] == {"disc": 6, "three": 6}


def test_predictions_tell_the_metrics_again():
    folders = walk.walk()
    held_out = read_predictions(folders.evaluation / "predictions.csv")
    classes, rows = held_out.classes, held_out.rows
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert classes == ["disc", "three"] and {row.side for row in rows} == {"test"}
    assert [row.predicted for row in rows] == [classes[i] for i in held_out.logits.argmax(1)]
    right = [row.predicted == row.label for row in rows if row.side == "test"]
    assert np.mean(right) == metrics["accuracy"]
    others, told = read_predictions(folders.evaluation / "out_of_fold.csv"), metrics["cross_validation"]
    assert len(others.rows) == 18 and {row.side for row in others.rows} == {"train", "valid"}
    assert np.mean([row.predicted != row.label for row in others.rows]) == told["error"]
    probabilities = calibration.softmax(others.logits, metrics["temperature"])
    assert calibration.negative_log_likelihood(probabilities, others.labels) == pytest.approx(
        told["loss"], rel=1e-4
    )
    assert metrics["threshold"] == pytest.approx(calibration.threshold(probabilities.max(1), 0.975), rel=1e-4)
    assert metrics["familiarity"] == pytest.approx(calibration.threshold(others.familiarity, 0.975), rel=1e-4)


def test_a_model_that_was_not_cross_validated_is_judged_by_the_validation_pictures(tmp_path):
    """As after fine-tuning, and as of a model of an earlier version."""
    folders = walk.walk()
    shutil.copytree(folders.model, tmp_path / "m")
    (tmp_path / "m" / "folds.safetensors").unlink()
    (tmp_path / "e").mkdir()
    metrics = evaluate.evaluate(folders.dataset, tmp_path / "m", tmp_path / "e", on_progress=quiet)
    assert metrics.cross_validation is None and (metrics.pictures.valid, metrics.pictures.test) == (6, 6)
    rows = read_predictions(tmp_path / "e" / "predictions.csv").rows
    assert {row.side for row in rows} == {"valid", "test"}
    assert not (tmp_path / "e" / "out_of_fold.csv").exists()
    page = (tmp_path / "e" / "report.html").read_text()
    assert "fitted on the validation pictures" in page and "ross-validation" not in page
    nothing = without(folders.dataset, tmp_path / "d", lambda row: row.side == "valid")
    with pytest.raises(pixels.DataSetError, match="'valid', expected at least one"):
        evaluate.evaluate(nothing, tmp_path / "m", tmp_path / "e", on_progress=quiet)


def test_each_picture_is_judged_by_what_has_not_learned_from_it(tmp_path):
    """By the heads of the folds, and the centers of the classes beside them."""
    folders = walk.walk()
    judged, centers = folds.load(folders.model), np.load(folders.evaluation / "fold_centers.npy")
    learn, training = architectures.load_model(folders.model)
    rows = read_labels(folders.dataset, "train") + read_labels(folders.dataset, "valid")
    x = features.pooled(learn, [folders.dataset / row.file for row in rows], training, quiet)
    told = {row.file: (row, logits) for row, logits in zip(*by_picture(folders.evaluation), strict=True)}
    for row, k, own in zip(rows, judged.fold, x.flatten(1).numpy(), strict=True):
        said, logits = told[row.file]
        assert judged.weight[k] @ own + judged.bias[k] == pytest.approx(logits, rel=1e-3, abs=1e-3)
        assert familiarity.familiarity(own[None], centers[k])[0] == pytest.approx(said.familiarity, abs=1e-4)


def by_picture(evaluation):
    found = read_predictions(evaluation / "out_of_fold.csv")
    return found.rows, found.logits


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


def test_a_cross_validation_takes_the_place_of_the_validation_pictures():
    """Twenty pictures, three of which are named wrongly, and none of them familiar."""
    rows = [LabelRow(str(n), "ab"[n % 2], "", "train") for n in range(20)]
    logits = np.where(np.arange(20)[:, None] % 2 == np.arange(2), 2.0, 0)
    logits[:3] = logits[:3, ::-1]
    others = held_out(["a", "b"], rows, logits, np.full(20, -0.5))
    test = [LabelRow("t", "a", "", "test"), LabelRow("v", "a", "", "valid")]
    tested = held_out(["a", "b"], test, np.array([[9.0, 0], [0, 9]]), np.array([0.1, 0.9]))
    found = evaluate.measure(tested, NO_COUNTS, "", others, 5)
    crossed = found.cross_validation
    assert (crossed.folds, crossed.pictures, crossed.error) == (5, 20, 0.15)
    assert crossed.error_interval == wilson(3, 20)
    assert found.familiarity == -0.5 and found.temperature == calibration.fit_temperature(
        logits, others.labels
    )
    assert (found.error, found.coverage) == (0, 1)
    assert evaluate.measure(tested, NO_COUNTS).familiarity == 0.9


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


def test_metrics_grow_with_the_classes_and_not_with_their_square(tmp_path):
    """A cell each pair of classes was 6 MB of 1,000 classes, in metrics.json and in model.json."""
    rows = pixels.read_rows(walk.walk().dataset, "valid", "test")

    def size(count):
        classes = ["disc", *(f"kind {number:04}" for number in range(2, count)), "three"]
        logits = np.zeros((len(rows), count))
        contracts.write(
            tmp_path / "m", evaluate.measure(held_out(classes, rows, logits, np.zeros(len(rows))), NO_COUNTS)
        )
        return (tmp_path / "m").stat().st_size

    assert size(1000) < 11 * size(100)


def test_metrics_by_hand():
    """A model that calls everything a disc."""
    rows = pixels.read_rows(walk.walk().dataset, "valid", "test")
    logits = np.tile([1.0, 0, 0], (len(rows), 1))
    metrics = evaluate.measure(
        held_out(["disc", "else", "three"], rows, logits, np.zeros(len(rows))), NO_COUNTS
    )
    assert metrics.confusion == [{0: 3}, {}, {0: 3}]
    assert metrics.per_class == {
        "disc": ClassMetrics(0.5, 1.0, 3),
        "else": ClassMetrics(None, None, 0),
        "three": ClassMetrics(None, 0.0, 3),
    }
    assert metrics.error_interval == pytest.approx(wilson(3, 6))
    assert metrics.threshold == pytest.approx(calibration.softmax(logits[:1], metrics.temperature).max())
    assert metrics.coverage == 1 and metrics.familiarity == 0


@pytest.mark.parametrize("label", ["disc", "three"])
def test_a_class_missing_on_a_side_is_no_obstacle(tmp_path, label):
    dataset = without(
        walk.walk().dataset, tmp_path / "d", lambda row: row.side == "test" and row.label == label
    )
    (tmp_path / "e").mkdir()
    evaluate.evaluate(dataset, walk.walk().model, tmp_path / "e", on_progress=quiet)
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["per_class"][label]["recall"] is None


def test_nothing_to_judge_by_is_an_error(tmp_path):
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == "test")
    with pytest.raises(pixels.DataSetError, match="'test', expected at least one"):
        evaluate.evaluate(dataset, walk.walk().model, tmp_path, on_progress=quiet)
    fewer = without(walk.walk().dataset, tmp_path / "f", lambda row: row.side == "valid")
    with pytest.raises(
        pixels.DataSetError, match=r"12 pictures are not for testing, .* learned from 18; train"
    ):
        evaluate.evaluate(fewer, walk.walk().model, tmp_path, on_progress=quiet)
    strange = walk.drawn(tmp_path / "s", ("disc", "four"), each=4)
    with pytest.raises(pixels.DataSetError, match=r"does not know \['four'\], it knows \['disc', 'three'\]"):
        evaluate.evaluate(strange, walk.walk().model, tmp_path, on_progress=quiet)
