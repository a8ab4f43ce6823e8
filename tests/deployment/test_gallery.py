"""What a release carries for its model page."""

from __future__ import annotations

import json
from pathlib import Path

from greenr_luigi.deployment import gallery
from greenr_luigi.deployment.provenance import Provenance, read_provenance
from greenr_luigi.pictures import thumbnails
from greenr_luigi.pictures.door import open_picture
from greenr_luigi.web.model_page import PICTURE
from tests import tiny_release, walk
from tests.pictures import WHOLE


def test_held_out_pictures_and_where_all_came_from(tmp_path: Path) -> None:
    sides = ("train", "test", "test", "valid")
    pictures = [("grass", side, tiny_release.picture("green", 900 + n)) for n, side in enumerate(sides)]
    dataset, out = walk.split(tmp_path / "split", pictures), tmp_path / "out"
    manifest = dataset / "manifest.csv"
    lines = manifest.read_text().splitlines()
    own = next(n for n, line in enumerate(lines) if line.startswith("valid/"))
    lines[own] = lines[own].replace(",sample,,,,,", ",folder,,,,CC0-1.0,")
    manifest.write_text("\n".join(lines) + "\n")
    gallery.write_gallery(dataset, out)
    held_out = {path.stem for path in (dataset / "test" / "grass").iterdir()}
    assert {path.stem for path in (out / "pictures").iterdir()} == held_out
    for path in (out / "pictures").iterdir():
        assert (
            PICTURE.fullmatch(path.name)
            and max(open_picture(path.read_bytes(), WHOLE).size) == thumbnails.SIDE
        )
    told = json.loads((out / "sources.json").read_text())
    assert told["sources"] == [
        {"engine": "sample", "license": "", "pictures": 3},
        {"engine": "folder", "license": "CC0-1.0", "pictures": 1},
    ]
    learned = {path.stem for side in ("train", "valid") for path in (dataset / side / "grass").iterdir()}
    assert set(told["learned_from"]) == learned


def test_a_release_that_does_not_tell_what_it_has_learned_from(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) == Provenance([])
    (tmp_path / "sources.json").write_text('{"sources": []}')
    assert read_provenance(tmp_path).learned_from is None
