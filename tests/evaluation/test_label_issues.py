import dataclasses

import numpy as np
import pytest
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation import label_issues
from greenr_luigi.training import folds
from tests import walk

pytestmark = pytest.mark.slow


def test_planted_labels_are_found(tmp_path):
    """Two clouds of features, four pictures of which carry the other cloud's label."""
    generator = torch.Generator().manual_seed(0)
    truth = np.arange(120) % 2
    features = (
        torch.randn(120, 16, generator=generator) + torch.from_numpy(truth * 3.0)[:, None].float()
    ).numpy()
    labels = truth.copy()
    labels[[5, 40, 77, 110]] ^= 1
    fold = folds.divide(labels, [str(n) for n in range(120)], 1)
    probabilities = label_issues.out_of_fold_probabilities(features, labels, fold)
    assert np.allclose(probabilities.sum(1), 1)
    others = features.copy()
    others[fold == 3] *= -9
    again = label_issues.out_of_fold_probabilities(features, labels, np.where(fold == 2, -1, fold))
    assert np.isnan(again[fold == 2]).all() and (again[fold == 3] == probabilities[fold == 3]).all()
    assert (
        label_issues.out_of_fold_probabilities(others, labels, fold)[fold == 1] != probabilities[fold == 1]
    ).any()
    row = pixels.read_rows(walk.walk().dataset, "train")[0]
    rows = [dataclasses.replace(row, file=str(i), label="ab"[k]) for i, k in enumerate(labels)]
    found = label_issues.find_label_issues(rows, probabilities, ["a", "b"])
    assert {int(s.file) for s in found[:4]} == {5, 40, 77, 110} and len(found) <= 6
    assert all(s.suggested != s.label and s.probability < 0.5 for s in found)
    label_issues.write_label_issues(tmp_path, found)
    again = label_issues.read_label_issues(tmp_path)
    assert again == [
        dataclasses.replace(issue, probability=float(f"{issue.probability:.6g}")) for issue in found
    ]
    (tmp_path / "label_issues.csv").rename(tmp_path / "suspects.csv")
    assert label_issues.read_label_issues(tmp_path) == again, "an evaluation of the version before"


def test_of_many_pictures_some_of_each_class_are_learned_from(monkeypatch):
    """As well as from all, where a class has few, too."""
    chance = np.random.default_rng(0)
    truth = np.r_[np.arange(400) % 2, [2] * 8]
    features = (chance.normal(size=(408, 16)) + 5 * np.eye(16)[truth]).astype(np.float32)
    labels = truth.copy()
    labels[[5, 40, 77, 110]] ^= 1
    fold = np.arange(408) % 5
    of_all = label_issues.out_of_fold_probabilities(features, labels, fold)
    monkeypatch.setattr(label_issues, "MOST", 150)
    monkeypatch.setattr(label_issues, "AT_ONCE", 7)
    of_some = label_issues.out_of_fold_probabilities(features, labels, fold)
    assert np.allclose(of_some.sum(1), 1) and not np.array_equal(of_some, of_all)
    assert (of_some.argmax(1) == of_all.argmax(1)).mean() > 0.9
    assert {*np.argsort(of_some[np.arange(400), labels[:400]])[:8].tolist()} >= {5, 40, 77, 110}


def test_each_class_is_learned_from_however_few_are(monkeypatch):
    monkeypatch.setattr(label_issues, "MOST", 2)
    labels = np.arange(30) % 3
    features = np.eye(3, dtype=np.float32)[labels]
    found = label_issues.out_of_fold_probabilities(features, labels, np.arange(30) % 5)
    assert np.allclose(found.sum(1), 1) and (found > 0).all() and found.shape == (30, 3)
