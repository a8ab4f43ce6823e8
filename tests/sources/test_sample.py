"""Drawings: the same each time, all different, and different by label."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from PIL import Image

from greenr_luigi.dataset.duplicates import hash_matrix, near_pairs
from greenr_luigi.pictures import door, hashing
from greenr_luigi.sources import drawn, sample
from greenr_luigi.sources.source import Request
from tests.pictures import WHOLE
from tests.sources.collecting import collect_from


@pytest.mark.slow
def test_a_hundred_and_no_two_alike() -> None:
    hashes, files = [], set()
    for label in ("dandelion", "grass"):
        for candidate in itertools.islice(sample.candidates(Request(label, label)), 50):
            data = candidate.load()
            files.add(data)
            image = door.open_picture(data, WHOLE)
            hashes.append(hashing.perceptual_hash(image))
    assert len(files) == len(set(hashes)) == 100
    assert len(near_pairs(hash_matrix(hashes))[0]) == 0


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        collect_from("sample", "aster", tmp_path / name, 12)
    assert (tmp_path / "one/manifest.jsonl").read_bytes() == (tmp_path / "two/manifest.jsonl").read_bytes()
    assert drawn.encoded("aster", 1) == drawn.encoded("aster", 1) != drawn.encoded("aster", 2)


def test_labels_differ_in_what_they_show() -> None:
    labels = [f"class {n}" for n in range(50)]
    assert len({drawn.flower_of(label) for label in labels}) == 50
    assert drawn.flower_of("Grass ") is None and drawn.flower_of("Dandelion") == drawn.DANDELION


def test_a_drawing_is_a_usable_picture() -> None:
    image = Image.open(io.BytesIO(drawn.encoded("Löwenzahn/gelb", 7)))
    assert image.format == "JPEG" and image.mode == "RGB" and min(image.size) >= 200
