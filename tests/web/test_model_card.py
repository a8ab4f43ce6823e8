"""What the model page shows of a release."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.serving import releases
from greenr_luigi.web import model_card
from tests import tiny_release


def test_a_card_of_a_full_release(tmp_path: Path) -> None:
    exported = tiny_release.export(tmp_path / "export")
    tiny_release.evaluation(exported)
    store = tmp_path / "releases"
    digest = releases.publish(store, exported.iterdir())
    full = model_card.read(store / digest, digest)
    assert [label for label, _ in full.confusion] == sorted(tiny_release.CLASSES)
    wrong = full.cell("dandelion", "grass")
    assert len(wrong) == 1 and wrong[0]["picture"] in full.pictures
    assert full.cell("dandelion", "no such class") == []
    assert len(full.samples("grass")) == model_card.SAMPLES and full.created


def test_a_card_of_a_release_that_carries_nothing(tmp_path: Path) -> None:
    store = tmp_path / "releases"
    digest = tiny_release.publish(store)
    bare = model_card.read(store / digest, digest)
    assert bare.confusion == [] and bare.sources == () and bare.samples("grass") == []
    assert dict(bare.counts)["grass"] == {"train": 8, "valid": 1, "test": 1}


def test_counts_by_side_are_turned_round(tmp_path: Path) -> None:
    counts = {side: {"a": n, "b": n + 1} for n, side in enumerate(("train", "valid", "test"))}
    found = model_card.Card("", "", {"data": {"counts": counts}}, {})
    assert found.counts == [
        ("a", {"train": 0, "valid": 1, "test": 2}),
        ("b", {"train": 1, "valid": 2, "test": 3}),
    ]
