import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import SplitRow, read_manifest
from greenr_luigi.deployment import gate
from greenr_luigi.deployment.gate import Agreement, Limits
from greenr_luigi.evaluation.comparison import Comparison, compare
from greenr_luigi.pictures import manifest
from tests import walk
from tests.training.test_train import without

pytestmark = pytest.mark.slow

MARGIN = Limits().margin


def with_scaled_head(folder: Path, factor: float) -> Path:
    """A release of the drawings' model whose logits are those of the walk, times `factor`."""

    def scale(weight, bias):
        weight *= factor
        bias *= factor

    shutil.copy(walk.walk().export / "model.json", folder)
    walk.write_with_other_head(folder / "model.onnx", scale)
    return folder


def test_the_first_model_passes_if_it_beats_guessing():
    verdict = gate.judge(walk.walk().export, None, walk.walk().dataset, Limits())
    assert verdict.accepted and verdict.comparison is None and "no model to compare" in verdict.reason
    metrics = json.loads((walk.walk().evaluation / "metrics.json").read_text())
    assert verdict.candidate.error == metrics["error"] and verdict.candidate.pictures == 6


def test_a_floor():
    verdict = gate.judge(walk.walk().export, None, walk.walk().dataset, Limits(floor=1.01))
    assert not verdict.accepted and "the floor is 101.0\N{NO-BREAK SPACE}%" in verdict.reason


def test_a_model_is_as_good_as_itself():
    verdict = gate.judge(walk.walk().export, walk.walk().export, walk.walk().dataset, Limits())
    assert verdict.accepted and verdict.comparison is not None
    assert (
        verdict.comparison.difference == 0
        and verdict.comparison.interval[0] < 0 < verdict.comparison.interval[1]
        and verdict.comparison.p == 1
    )
    assert "as good as the serving model" in verdict.reason


def test_a_worse_model_is_refused_unless_forced(tmp_path):
    """All answers are turned around."""
    worse = with_scaled_head(tmp_path, -1)
    verdict = gate.judge(worse, walk.walk().export, walk.walk().dataset, Limits())
    assert not verdict.accepted and verdict.comparison is not None
    assert len(verdict.comparison.worse) > len(verdict.comparison.better)
    forced = gate.judge(worse, walk.walk().export, walk.walk().dataset, Limits(force=True))
    assert (
        forced.accepted
        and forced.forced
        and forced.reason == f"Forced by name. It would have been refused: {verdict.reason}"
    )
    back = gate.judge(walk.walk().export, worse, walk.walk().dataset, Limits())
    assert back.accepted and "better than the serving model" in back.reason


def test_what_a_serving_release_tells_oddly_blocks_no_other(tmp_path):
    """Only its classes and the size of its pictures count."""
    serving = shutil.copytree(walk.walk().export, tmp_path / "serving")
    card = json.loads((serving / "model.json").read_text())
    (serving / "model.json").write_text(
        json.dumps(card | {"versions": {"a": {"b": 1}}, "int8": {}, "metrics": float("nan")})
    )
    (serving / "sources.json").write_text("{torn")
    verdict = gate.judge(walk.walk().export, serving, walk.walk().dataset, Limits())
    assert verdict.accepted and verdict.comparison is not None


def test_models_of_other_classes_are_compared_on_what_both_know(tmp_path):
    other = shutil.copytree(walk.walk().export, tmp_path / "r")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"classes": ["disc", "square"]}))
    verdict = gate.judge(walk.walk().export, other, walk.walk().dataset, Limits())
    assert verdict.comparison is not None and verdict.comparison.candidate.pictures == 3
    assert verdict.accepted and verdict.reason.endswith(
        " It knows no square any more, which the model before knew."
    )


def test_a_model_of_classes_that_are_all_new_takes_no_place_unjudged(tmp_path):
    other = shutil.copytree(walk.walk().export, tmp_path / "r")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"classes": ["circle", "square"]}))
    verdict = gate.judge(walk.walk().export, other, walk.walk().dataset, Limits())
    assert not verdict.accepted and verdict.comparison is None
    assert "the serving model knows no class of its 6 held-out pictures" in verdict.reason
    assert gate.judge(walk.walk().export, other, walk.walk().dataset, Limits(force=True)).forced


def comparison(worse: int, better: int, same: int) -> Comparison:
    """Of models that both name all the `same` pictures rightly, and differ on the others."""
    number = np.arange(worse + better + same)
    return compare([""] * len(number), number >= worse, (number < worse) | (number >= worse + better))


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 300))
def test_only_a_worse_model_meets_an_objection(worse, better, same):
    c = comparison(worse, better, same)
    refused = bool(gate.objection(c, MARGIN))
    assert not (refused and worse <= better)
    assert refused or c.difference <= MARGIN
    assert not refused or not gate.objection(comparison(better, worse, same), MARGIN)


def test_one_picture_more_in_a_hundred_is_let_pass_and_twenty_are_not():
    assert not gate.objection(comparison(3, 2, 95), MARGIN)
    assert "surely worse" in gate.objection(comparison(20, 0, 980), MARGIN)
    assert "though not surely" in gate.objection(comparison(3, 0, 20), MARGIN)


def learned_from(folder: Path, rows) -> Path:
    """The drawings' model as a release that tells what it has learned from."""
    release = Path(shutil.copytree(walk.walk().export, folder / "release"))
    learned = [Path(row.file).stem for row in rows]
    (release / "sources.json").write_text(json.dumps({"sources": [], "learned_from": learned}))
    return release


def test_no_model_is_compared_on_what_it_has_learned_from(tmp_path, monkeypatch):
    dataset = walk.walk().dataset
    rows = pixels.read_rows(dataset, "test")
    others = learned_from(tmp_path / "a", pixels.read_rows(dataset, "train", "valid"))
    assert gate.judge(walk.walk().export, others, dataset, Limits()).comparison.candidate.pictures == len(
        rows
    )
    some = learned_from(tmp_path / "b", rows[:4])
    refused = gate.judge(walk.walk().export, some, dataset, Limits())
    assert not refused.accepted and refused.comparison is None
    assert "the serving model has learned from 4 of its 6 held-out pictures" in refused.reason
    assert gate.judge(walk.walk().export, some, dataset, Limits(force=True)).forced
    monkeypatch.setattr(gate, "LEAST_SHARED", 2)
    judged = gate.judge(walk.walk().export, some, dataset, Limits())
    assert judged.accepted and judged.comparison.candidate.pictures == 2


@pytest.mark.parametrize("url", ["https://pictures.example/1.jpg", None])
@pytest.mark.parametrize("shown", ["disc", "three"])
def test_new_pictures_of_another_class_are_refused_if_a_search_brought_them(tmp_path, url, shown):
    """However the candidate does: here it is the very model that serves."""
    held_out = [(label, "test", drawing(label, 100 + n)) for label in ("disc", "three") for n in range(8)]
    new = [("disc", "train", drawing(shown, 200 + n)) for n in range(20)]
    dataset = walk.split(tmp_path / "d", held_out + new)
    rows = read_manifest(dataset)
    rows = [replace(row, file_url=url) if row.side == "train" else row for row in rows]
    manifest.write_csv(dataset / "manifest.csv", rows, SplitRow)
    serving = learned_from(tmp_path, [])
    verdict = gate.judge(walk.walk().export, serving, dataset, Limits())
    assert verdict.accepted == (shown == "disc" or url is None)
    assert verdict.accepted or "Most new pictures of disc seem to show something else" in verdict.reason
    known = learned_from(tmp_path / "known", [row for row in rows if row.side == "train"])
    assert gate.judge(walk.walk().export, known, dataset, Limits()).accepted
    assert gate.judge(walk.walk().export, walk.walk().export, dataset, Limits()).accepted, "it does not tell"


def agreements_of() -> st.SearchStrategy[Agreement]:
    def one(new: int, wrong: int, held_out: int, held_out_wrong: int) -> Agreement:
        return Agreement(new, min(wrong, new), held_out, min(held_out_wrong, held_out))

    return st.builds(one, *[st.integers(1, 50), st.integers(0, 50)] * 2)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), agreements_of()))
def test_only_a_class_whose_new_pictures_are_mostly_and_more_often_wrong_is_a_contradiction(found):
    suspect = [
        a for a in found.values()
        if 2 * a.new_wrong > a.new and a.new_wrong * a.held_out > a.held_out_wrong * a.new
    ]  # fmt: skip
    assert suspect or not gate.contradiction(found)


def test_a_few_new_pictures_or_a_class_that_is_never_named_rightly_are_none():
    assert gate.contradiction({"a": Agreement(30, 28, 4, 0)})
    assert not gate.contradiction({"a": Agreement(30, 14, 40, 0)})
    assert not gate.contradiction({"a": Agreement(2, 2, 4, 0)})
    assert not gate.contradiction({"a": Agreement(30, 28, 10, 9)})


def test_always_the_most_frequent_class_is_not_enough(tmp_path):
    """Of six held-out pictures five are of one class, which a useless model always names."""
    dataset = walk.split(
        tmp_path / "more",
        [("disc", "test", drawing("disc", n)) for n in range(5)] + [("three", "test", drawing("three", 1))],
    )
    always = with_scaled_head(tmp_path, 0)
    verdict = gate.judge(always, None, dataset, Limits())
    rows = pixels.read_rows(dataset, "test")
    right = gate.named_rightly(always, dataset, rows)
    assert right.tolist() == [row.label == "disc" for row in rows]
    assert (
        not verdict.accepted
        and "most frequent of the 2 classes would do as well (83.3\N{NO-BREAK SPACE}%)" in verdict.reason
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
    verdict = gate.judge(walk.walk().export, None, dataset, Limits())
    assert verdict.accepted and "It finds none of the held-out pictures of unknown." in verdict.reason


def test_no_held_out_pictures_no_verdict(tmp_path):
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == "test")
    with pytest.raises(pixels.DataSetError, match="'test'"):
        gate.judge(walk.walk().export, None, dataset, Limits())


def test_needs_no_torch():
    code = "import sys, greenr_luigi.deployment.gate; assert not {'torch', 'fastai', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
