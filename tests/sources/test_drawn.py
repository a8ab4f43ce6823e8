"""Drawings: the same for the same seed, all different, and different by label."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

from PIL import Image

from greenr_luigi.dataset.duplicates import looks, near_pairs
from greenr_luigi.pictures import door, hashing
from greenr_luigi.sources import drawn
from greenr_luigi.sources.candidates import Request
from greenr_luigi.sources.collection import collect


def test_several_hundred_and_no_two_alike() -> None:
    hashes, files = [], set()
    for label in ("dandelion", "grass"):
        for candidate in itertools.islice(drawn.sample(Request(label, label, 1)), 200):
            data = candidate.load()
            files.add(data)
            image = door.open_picture(data)
            hashes.append((door.dhash(image), hashing.phash(image)))
    assert len(files) == len(set(hashes)) == 400
    assert len(near_pairs(looks(hashes))[0]) == 0


def test_the_same_bytes_for_the_same_seed_and_no_others(tmp_path: Path) -> None:
    def collected(name: str, seed: int) -> bytes:
        (tmp_path / name).mkdir()
        collect(
            "sample", "aster", "aster", 12, None, tmp_path / name, None, seed, (), lambda share, words: None
        )
        return (tmp_path / name / "manifest.jsonl").read_bytes()

    assert collected("one", 1) == collected("two", 1) != collected("three", 2)


def test_labels_differ_in_what_they_show() -> None:
    labels = [f"class {n}" for n in range(50)]
    assert len({drawn.flower_of(label) for label in labels}) == 50
    assert drawn.flower_of("Grass ") is None and drawn.flower_of("Dandelion") == drawn.DANDELION


def test_a_drawing_is_a_usable_picture() -> None:
    image = Image.open(io.BytesIO(drawn.encoded("Löwenzahn/gelb", 0, 7)))
    assert image.format == "JPEG" and image.mode == "RGB" and min(image.size) >= 200
