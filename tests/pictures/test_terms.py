"""How small a picture may be, as a person has said it: in training, in what they add, and on the page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image, ImageDraw

from greenr_luigi.contracts import ContractError
from greenr_luigi.dataset.cleaning import NearDuplicates, Picture
from greenr_luigi.export.model_card import read_card
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.terms import LEAST_SIDE, STRANGERS, TAKEN, Terms
from tasks import DownloadImages
from tests import tiny_release
from tests.pictures.test_door import drawn, encoded
from tests.pictures.test_heif import heic
from tests.pipeline import Pipeline


def digit(label: str, number: int) -> bytes:
    """A one or an eight of 28 x 28, as no other number draws it."""
    random = np.random.default_rng(number)
    image = Image.fromarray(random.integers(0, 30, (28, 28), np.uint8))
    left, top, width = random.integers(8, 14), random.integers(3, 7), int(random.integers(1, 4))
    draw = ImageDraw.Draw(image)
    if label == "one":
        draw.line((left + random.integers(0, 6), top, left, top + 17), 255, width)
    else:
        draw.ellipse((left - 4, top, left + 5, top + 8), outline=255, width=width)
        draw.ellipse((left - 5, top + 8, left + random.integers(4, 8), top + 18), outline=255, width=width)
    return encoded(image, "PNG")


@pytest.mark.parametrize("side", [LEAST_SIDE, 16, 31, 32, 200])
def test_a_picture_of_the_least_side_is_read_and_a_smaller_one_refused_in_words(side: int) -> None:
    for size in ((side, 300), (300, side)):
        data = encoded(drawn(size=size), "PNG")
        assert door.open_picture(data, 224, terms=Terms(side)).size == size
        assert examine(data, "", "", Terms(side)).width == size[0]
        with pytest.raises(door.UnusablePicture, match=f"each side must have at least {side + 1}$") as found:
            door.open_picture(data, 224, terms=Terms(side + 1))
        assert found.value.reason == "too-small"
        door.open_picture(data, 224, terms=TAKEN)
    assert STRANGERS.min_side == 32


@pytest.mark.parametrize("kind", door.FORMATS)
def test_tiny_pictures_of_every_format_have_pixels_and_hashes(kind: str) -> None:
    for side in (1, 2, 5, LEAST_SIDE, 28):
        data = encoded(drawn(size=(side, side)), kind)
        assert door.square(door.open_picture(data, 32, terms=TAKEN), 32).shape == (32, 32, 3)
        assert len(examine(data, "", "", TAKEN).phash) == 44


def test_a_model_card_says_on_which_terms_and_an_older_one_means_32(tmp_path: Path) -> None:
    assert read_card(tiny_release.export(tmp_path)).terms == Terms(32)
    assert read_card(tiny_release.export(tmp_path, min_side=16)).terms == Terms(16)
    for wrong in (0, "small", [16]):
        with pytest.raises(ContractError, match=r"model\.json"):
            read_card(tiny_release.export(tmp_path, min_side=wrong))


def test_what_was_made_before_there_was_a_choice_is_what_32_means(tmp_path: Path) -> None:
    options = {"root": tmp_path, "label": "grass", "source": "sample", "folder": None, "limit": 0, "license": "",
               "refresh_days": 30, "shard_size": 10}  # fmt: skip
    assert "min_side" not in DownloadImages(**options, min_side=32).parameters
    assert DownloadImages(**options, min_side=16).parameters["min_side"] == "16"


def test_digits_look_alike_and_are_not_taken_for_copies() -> None:
    """docs/benchmarks-appendix.md, Cleaning, has those of people's hands."""
    pictures = [
        Picture(examine(digit(label, number), label, "", Terms(16)), Path())
        for label in ("one", "eight")
        for number in range(200)
    ]
    label = {picture.row.perceptual_hash: picture.row.label for picture in pictures}
    near = NearDuplicates(pictures).of
    assert len(near) < 40
    assert all(label[one] == label[other] for one, others in near.items() for other in others)


@pytest.mark.slow
def test_digits_of_28_pixels_and_tiff_are_trained_added_and_answered_when_a_person_says_so(
    tmp_path: Path,
) -> None:
    for label in ("one", "eight"):
        (tmp_path / "digits" / label).mkdir(parents=True)
        for number in range(40):
            data = digit(label, number)
            if number % 4 == 0:
                data = heic(Image.open(io.BytesIO(data)))
            elif number % 2:
                data = encoded(Image.open(io.BytesIO(data)), "TIFF", compression="tiff_lzw")
            (tmp_path / "digits" / label / f"{number}.{'tif' if number % 2 else 'png'}").write_bytes(data)
    (tmp_path / "tiny.png").write_bytes(
        encoded(Image.open(io.BytesIO(digit("one", 0))).resize((15, 28)), "PNG")
    )
    (tmp_path / "another.png").write_bytes(digit("one", 99))
    pipeline = Pipeline(
        tmp_path, "--source", "folder", "--folder", str(tmp_path / "digits"), "--classes", "one,eight"
    )
    refused = pipeline.run(stage="SplitDataset")
    assert refused.status != 0 and "Refused: 40 too-small" in refused.output
    (tmp_path / "luigi.cfg").write_text("[DownloadImages]\nmin_side = 16\nshard_size = 25\n")
    added = pipeline.greenr("add", "--new", "one", str(tmp_path / "another.png"))
    assert added.returncode == 0, added.stderr
    too_small = pipeline.greenr("add", "--new", "one", str(tmp_path / "tiny.png"))
    assert too_small.returncode == 1 and "each side must have at least 16" in too_small.stderr
    try:
        run = pipeline.run()
        assert run.status == 0, run.output
        with (pipeline.newest_output("SplitDataset") / "labels.csv").open(newline="") as file:
            assert len([*csv.DictReader(file)]) > 70
        card = json.loads((pipeline.root / "releases" / "current" / "model.json").read_text())
        assert card["min_side"] == 16
        address, files = f"http://127.0.0.1:{pipeline.port}/api/predict", {"file": digit("one", 77)}
        assert requests.post(address, files=files, timeout=60).json()["label"] == "one"
        files = {"file": (tmp_path / "digits" / "one" / "1.tif").read_bytes()}
        refused = requests.post(address, files=files, timeout=60)
        assert refused.status_code == 415 and "a TIFF picture" in refused.text
        files = {"file": (tmp_path / "tiny.png").read_bytes()}
        assert requests.post(address, files=files, timeout=60).status_code == 422
    finally:
        pipeline.stop()
    rows = pipeline.greenr("predict", str(tmp_path / "digits" / "eight"), "--jsonl")
    found = [json.loads(line) for line in rows.stdout.splitlines()]
    assert len(found) == 40 and {row["reason"] for row in found} <= {None, "unsure", "unfamiliar"}, (
        rows.stderr
    )
    assert sum(row["answer"] == "eight" for row in found) > 20
    assert pipeline.causes().keys() == {"DeployApp"}  # Whose server was stopped.
