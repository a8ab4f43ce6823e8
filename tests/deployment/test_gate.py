import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.dataset import pixels
from greenr_luigi.deployment import gate
from greenr_luigi.export import onnx_export
from greenr_luigi.training import saved_model
from tests import walk
from tests.training.test_train import without


def spoilt(folder: Path, how) -> Path:
    """A release of the drawings' model after `how` has changed its last layer's weights."""
    learn, info = saved_model.load(walk.walk().model)
    with torch.no_grad():
        how(learn.model[1][-1].weight)
    shutil.copy(walk.walk().export / "model.json", folder)
    onnx_export.write_onnx(
        onnx_export.Served(
            learn.model, info["mean"], info["std"], 1.0, np.load(walk.walk().evaluation / "centers.npy")
        ).eval(),
        walk.SIZE,
        folder / "model.onnx",
    )
    return folder


def test_the_first_model_passes_if_it_beats_guessing():
    verdict = gate.judge(walk.walk().export, None, walk.walk().dataset)
    assert verdict.accepted and verdict.comparison is None and "no model to compare" in verdict.reason
    metrics = json.loads((walk.walk().evaluation / "metrics.json").read_text())
    assert verdict.candidate.error == metrics["error"] and verdict.candidate.pictures == 6
    json.dumps(verdict.as_dict())


def test_a_floor():
    verdict = gate.judge(walk.walk().export, None, walk.walk().dataset, floor=1.01)
    assert not verdict.accepted and "the floor is 101.0 %" in verdict.reason


def test_a_model_is_as_good_as_itself():
    verdict = gate.judge(walk.walk().export, walk.walk().export, walk.walk().dataset)
    assert verdict.accepted and verdict.comparison is not None
    assert (
        verdict.comparison.difference == 0
        and verdict.comparison.interval[0] < 0 < verdict.comparison.interval[1]
        and verdict.comparison.p == 1
    )
    assert "as good as the serving model" in verdict.reason


def test_a_worse_model_is_refused_unless_forced(tmp_path):
    """All answers are turned around."""
    worse = spoilt(tmp_path, lambda weight: weight.neg_())
    verdict = gate.judge(worse, walk.walk().export, walk.walk().dataset)
    assert not verdict.accepted and verdict.comparison is not None
    assert len(verdict.comparison.worse) > len(verdict.comparison.better) or "guessing" in verdict.reason
    forced = gate.judge(worse, walk.walk().export, walk.walk().dataset, force=True)
    assert (
        forced.accepted
        and forced.forced
        and forced.reason == f"Forced by name. It would have been refused: {verdict.reason}"
    )
    back = gate.judge(walk.walk().export, worse, walk.walk().dataset)
    assert back.accepted and "better than the serving model" in back.reason


def test_models_of_other_classes_are_compared_on_what_both_know(tmp_path):
    other = shutil.copytree(walk.walk().export, tmp_path / "r")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"classes": ["disc", "square"]}))
    verdict = gate.judge(walk.walk().export, other, walk.walk().dataset)
    assert verdict.comparison is not None and verdict.comparison.candidate.pictures == 3
    (other / "model.json").write_text(json.dumps(card | {"classes": ["circle", "square"]}))
    assert gate.judge(walk.walk().export, other, walk.walk().dataset).comparison is None


def comparison(worse: int, better: int, same: int) -> gate.Comparison:
    from scipy.stats import binomtest

    n = worse + better + same
    ours, theirs = (gate.score(np.arange(n) >= wrong) for wrong in (worse, better))
    p = binomtest(worse, worse + better, alternative="greater").pvalue if worse + better else 1.0
    return gate.Comparison(ours, theirs, (worse - better) / n, (0, 0), p, [], [])


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 300))
def test_only_a_worse_model_meets_an_objection(worse, better, same):
    c = comparison(worse, better, same)
    refused = bool(gate.objection(c, gate.MARGIN))
    assert not (refused and worse <= better)
    assert refused or c.difference <= gate.MARGIN
    assert not refused or not gate.objection(comparison(better, worse, same), gate.MARGIN)


def test_one_picture_more_in_a_hundred_is_let_pass_and_twenty_are_not():
    assert not gate.objection(comparison(3, 2, 95), gate.MARGIN)
    assert "surely worse" in gate.objection(comparison(20, 0, 980), gate.MARGIN)
    assert "though not surely" in gate.objection(comparison(3, 0, 20), gate.MARGIN)


def test_the_interval_is_newcombe_s():
    """The first example of table II in his paper: 36 both, 12 and 2 one alone, none neither."""
    assert gate.paired_interval(36, 12, 2, 50) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_the_interval_holds_the_difference_and_turns_with_it(both, first, second, right):
    n = both + first + second + right
    low, high = gate.paired_interval(both, first, second, n)
    assert -1 - 1e-9 <= low < (first - second) / n < high <= 1 + 1e-9
    assert gate.paired_interval(both, second, first, n) == pytest.approx((-high, -low))


def learned_from(folder: Path, rows) -> Path:
    """The drawings' model as a release that tells what it has learned from."""
    release = Path(shutil.copytree(walk.walk().export, folder / "release"))
    learned = [Path(row.file).stem for row in rows]
    (release / "sources.json").write_text(json.dumps({"sources": [], "learned_from": learned}))
    return release


def test_no_model_is_compared_on_what_it_has_learned_from(tmp_path, monkeypatch):
    dataset = walk.walk().dataset
    rows = pixels.rows(dataset, "test")
    others = learned_from(tmp_path / "a", pixels.rows(dataset, "train", "valid"))
    assert gate.judge(walk.walk().export, others, dataset).comparison.candidate.pictures == len(rows)
    some = learned_from(tmp_path / "b", rows[:4])
    refused = gate.judge(walk.walk().export, some, dataset)
    assert not refused.accepted and refused.comparison is None
    assert "the serving model has learned from 4 of its 6 held-out pictures" in refused.reason
    assert gate.judge(walk.walk().export, some, dataset, force=True).forced
    monkeypatch.setattr(gate, "LEAST_SHARED", 2)
    judged = gate.judge(walk.walk().export, some, dataset)
    assert judged.accepted and judged.comparison.candidate.pictures == 2


def test_always_the_most_frequent_class_is_not_enough(tmp_path):
    """Of six held-out pictures five are of one class, which a useless model always names."""
    dataset = walk.split(
        tmp_path / "more",
        [("disc", "test", drawing("disc", n)) for n in range(5)] + [("three", "test", drawing("three", 1))],
    )
    always = spoilt(tmp_path, lambda weight: weight.zero_())
    verdict = gate.judge(always, None, dataset)
    named = gate.answers(always, dataset, pixels.rows(dataset, "test"))[1]
    assert len(set(named)) == 1
    assert (
        not verdict.accepted and "most frequent of the 2 classes would do as well (83.3 %)" in verdict.reason
    )


def drawing(label: str, number: int) -> bytes:
    file = io.BytesIO()
    walk.drawing(label, number).save(file, "JPEG")
    return file.getvalue()


def test_a_class_that_is_never_found_is_named(tmp_path):
    dataset = walk.split(
        tmp_path / "d",
        [("disc", "test", drawing("disc", n)) for n in range(5)]
        + [("three", "test", drawing("three", n)) for n in range(5)]
        + [("unknown", "test", drawing("three", 7))],
    )
    verdict = gate.judge(walk.walk().export, None, dataset)
    assert verdict.accepted and "It finds none of the held-out pictures of unknown." in verdict.reason


def test_no_held_out_pictures_no_verdict(tmp_path):
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == "test")
    with pytest.raises(saved_model.DataSetError, match="'test'"):
        gate.judge(walk.walk().export, None, dataset)


def test_needs_no_torch():
    code = "import sys, greenr_luigi.deployment.gate; assert not {'torch', 'fastai', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
