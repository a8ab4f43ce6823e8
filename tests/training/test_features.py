"""Features that are kept are those that would be computed, and no picture passes the same body twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.training import architectures, features
from greenr_luigi.training.saved_model import Training
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def body() -> tuple[Any, Training]:
    architecture = architectures.find(architectures.DEFAULT)
    learn = architectures.learner(architecture, ["a", "b"], walk.SIZE, pretrained=True)
    return learn, walk.settings(architecture, walk.SIZE)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that were opened since it was cleared."""
    opened: list[Path] = []
    read_batches = pixels.read_batches

    def noting(paths: Sequence[Path], *options: Any) -> Iterator[pixels.Pixels]:
        opened.extend(paths)
        return read_batches(paths, *options)

    monkeypatch.setattr(pixels, "read_batches", noting)
    return opened


def pictures(*sides: str) -> list[Path]:
    return [walk.walk().dataset / row.file for row in pixels.read_rows(walk.walk().dataset, *sides)]


def test_what_is_kept_is_what_would_be_computed(body, read, tmp_path):
    """Whatever others were computed with it: not a bit differs."""
    learn, training = body
    paths = pictures("train", "test")
    alone = features.pooled(learn, paths, training, quiet)
    read.clear()
    first = features.pooled(learn, paths[::3], training, quiet, kept=tmp_path)
    assert read == paths[::3]
    read.clear()
    told: list[tuple[float, str]] = []
    mixed = features.pooled(learn, paths, training, lambda *said: told.append(said), kept=tmp_path)
    assert read == [path for path in paths if path not in paths[::3]]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told) and told[-1][0] == 1
    read.clear()
    kept = features.pooled(learn, paths[::-1], training, quiet, kept=tmp_path)
    assert read == []
    assert torch.equal(first, alone[::3]) and torch.equal(mixed, alone) and torch.equal(kept.flip(0), alone)


def test_other_bodies_sizes_and_views_have_features_of_their_own(body, read, tmp_path):
    learn, training = body
    paths = pictures("test")
    features.pooled(learn, paths, training, quiet, kept=tmp_path)
    other = architectures.learner(architectures.find(training.arch), ["a", "b"], walk.SIZE, pretrained=False)
    smaller = walk.settings(architectures.find(training.arch), 32)
    for learner, settings, flip in (
        (learn, training, True),
        (learn, smaller, False),
        (other, training, False),
    ):
        for expected in (paths, []):
            read.clear()
            features.pooled(learner, paths, settings, quiet, flip, tmp_path)
            assert read == expected
    assert len([*tmp_path.glob("*.sqlite")]) == 4


def test_nothing_is_kept_of_files_that_are_not_named_by_their_content(body, read, tmp_path):
    learn, training = body
    (tmp_path / "a.jpg").write_bytes(pictures("test")[0].read_bytes())
    for _ in range(2):
        read.clear()
        found = features.pooled(learn, [tmp_path / "a.jpg"], training, quiet, kept=tmp_path / "features")
        assert read == [tmp_path / "a.jpg"]
    assert torch.equal(found, features.pooled(learn, pictures("test")[:1], training, quiet))


def test_a_run_that_breaks_off_keeps_what_it_has_seen(body, read, tmp_path, monkeypatch):
    learn, training = body
    monkeypatch.setattr(features, "KEPT_AT_ONCE", 8)
    paths = pictures("train", "test")

    def broken_off(fraction: float, words: str) -> None:
        if fraction >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.pooled(learn, paths, training, broken_off, kept=tmp_path)
    read.clear()
    again = features.pooled(learn, paths, training, quiet, kept=tmp_path)
    assert 0 < len(read) < 0.8 * len(paths)
    assert torch.equal(again, features.pooled(learn, paths, training, quiet))
