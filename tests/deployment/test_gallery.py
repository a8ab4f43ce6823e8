"""What a release carries for its model page, and the page of a release that carries nothing."""

from __future__ import annotations

import json
from pathlib import Path

from greenr_luigi.deployment import gallery
from greenr_luigi.pictures.door import open_picture
from greenr_luigi.serving import releases
from greenr_luigi.web import model_card
from tests import tiny_release


def test_held_out_pictures_and_where_all_came_from(tmp_path: Path) -> None:
    dataset, out = tmp_path / "split", tmp_path / "out"
    lines = ["file,label,side,engine,license"]
    for n, (side, engine) in enumerate(
        [("train", "bing"), ("test", "bing"), ("test", "folder"), ("valid", "bing")]
    ):
        name = f"{side}/grass/{n:016x}.png"
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_bytes(tiny_release.picture("green", 900 + n, "PNG"))
        lines.append(f"{name},grass,{side},{engine},{'CC0-1.0' if engine == 'folder' else ''}")
    (dataset / "manifest.csv").write_text("\n".join(lines) + "\n")
    gallery.write(dataset, out)
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [f"{n:016x}.jpg" for n in (1, 2)]
    for path in (out / "pictures").iterdir():
        assert (
            model_card.PICTURE.fullmatch(path.name)
            and max(open_picture(path.read_bytes()).size) == gallery.SIDE
        )
    assert json.loads((out / "sources.json").read_text())["sources"] == [
        {"engine": "bing", "license": "", "pictures": 3},
        {"engine": "folder", "license": "CC0-1.0", "pictures": 1},
    ]


def test_a_card_of_a_full_release(tmp_path: Path) -> None:
    exported = tiny_release.export(tmp_path / "export")
    tiny_release.evaluation(exported)
    store = tmp_path / "releases"
    digest = releases.publish(store, exported)
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
