"""The search finds what comparing all with all finds; the hashes know a picture again, and tell others
apart."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from greenr_luigi.dataset import duplicates
from greenr_luigi.dataset.duplicates import copy_limit, hash_matrix, near_pairs
from greenr_luigi.pictures import door, hashing
from tests.photographs import PHOTOS, needs_photos
from tests.pictures import WHOLE

WORDS = st.lists(st.integers(0, 2**48 - 1), min_size=4, max_size=4)
FLIPS = st.lists(st.integers(0, 4 * 48 - 1), max_size=60)


def all_pairs(found: duplicates.HashMatrix, distance: int, first: int) -> list[tuple[int, int]]:
    bits = np.bitwise_count(found[:, None] ^ found[None])
    close = (bits.sum(2) <= distance) & (bits[..., 0] <= first)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(close, 1))]


CHANGED = st.lists(st.tuples(st.integers(0, 19), FLIPS), max_size=20)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=20), CHANGED, st.integers(0, 60))
def test_finds_all_and_nothing_else(
    base: list[list[int]], changed: list[tuple[int, list[int]]], distance: int
) -> None:
    rows = np.array(base, np.uint64)
    near = []
    for place, flips in changed:
        row = rows[place % len(rows)].copy()
        for bit in flips:
            row[bit // 48] ^= np.uint64(1 << bit % 48)
        near.append(row)
    found = np.unique(np.array([*rows, *near]), axis=0)
    i, j = near_pairs(found, distance, 16)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == all_pairs(found, distance, 16)


def test_more_pictures_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "ROWS", 7)
    monkeypatch.setattr(duplicates, "COLUMNS", 20)
    found = np.random.default_rng(0).integers(0, 8, (100, 4), dtype=np.uint64)
    i, j = near_pairs(found, 3, 2)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == all_pairs(found, 3, 2)


def alike(count: int, bits: int) -> duplicates.HashMatrix:
    """Hashes that differ in some of so many bits only, as those of digits or X-rays do."""
    rng = random.Random(0)
    mask = sum(1 << bit for bit in rng.sample(range(240), bits))
    rows = [rng.getrandbits(240) & mask for _ in range(count)]
    return hash_matrix([(f"{row >> 176:016x}", f"{row % 2**176:044x}") for row in rows])


def test_pictures_that_all_look_alike_are_not_all_taken_for_copies() -> None:
    assert copy_limit(alike(500, 240)) == copy_limit(hash_matrix([])) == duplicates.NEAR
    assert copy_limit(alike(3000, 240)) == duplicates.NEAR
    found = alike(500, 90)
    i, _ = near_pairs(found)
    assert len(i) > 10_000
    i, _ = near_pairs(found, copy_limit(found))
    assert len(i) < 100


def test_a_copy_of_every_picture_leaves_the_search_as_it_is() -> None:
    base = alike(300, 240)
    copies = base ^ np.array([0, 0xFFFF, 0xFFFF << 20, 0], np.uint64)
    assert copy_limit(np.concatenate([base, copies])) == duplicates.NEAR


def test_no_pictures_have_no_pairs() -> None:
    assert [len(side) for side in near_pairs(hash_matrix([]))] == [0, 0]


def test_hashes_are_digits_of_known_length() -> None:
    image = Image.effect_mandelbrot((90, 70), (-3, -2.5, 2, 2.5), 60)
    assert len(hashing.phash(image)) == 44 and len(hashing.dhash(image)) == 16
    assert len(hashing.phash(Image.new("RGB", (40, 40)))) == 44


def saved(image: Image.Image, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, str(options.pop("format", "JPEG")), **options)
    return door.open_picture(buffer.getvalue(), WHOLE)


def cropped(image: Image.Image, share: float = 0.05) -> Image.Image:
    """Without 5 % of its width and height, somewhere else on each picture."""
    rng = random.Random(image.width * image.height)
    width, height = int(image.width * (1 - share)), int(image.height * (1 - share))
    x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((x, y, x + width, y + height))


def watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    canvas = ImageDraw.Draw(marked, "RGBA")
    for text, x, y, share, alpha in (("PREVIEW", 0.1, 0.45, 6, 90), ("© stock site", 0.55, 0.85, 12, 150)):
        font = ImageFont.load_default(max(12, image.height // share))
        canvas.text((x * image.width, y * image.height), text, (255, 255, 255, alpha), font)
    return marked


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


#: What was done to a copy, and how many of the copies must be known again.
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], float]] = {
    "jpeg quality 30": (lambda image: saved(image, quality=30), 1),
    "webp": (lambda image: saved(image, format="WEBP", quality=60), 1),
    "half as wide": (halved, 1),
    "cropped by 5 %": (cropped, 0.97),
    "watermarked": (watermarked, 0.96),
    "all of it": (lambda image: saved(watermarked(halved(cropped(image))), quality=60), 0.85),
}


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [door.open_picture(path.read_bytes(), WHOLE) for path in sorted(Path(PHOTOS).glob("*/*.jpg"))]


@pytest.mark.slow
@needs_photos
@pytest.mark.parametrize("name", COPIES)
def test_copies_of_photographs_are_known_again(name: str, photographs: list[Image.Image]) -> None:
    change, least = COPIES[name]
    originals, copies = (
        [hashing.perceptual_hash(image) for image in photographs],
        [hashing.perceptual_hash(change(image)) for image in photographs],
    )
    i, j = near_pairs(hash_matrix([*originals, *copies]))
    right = np.count_nonzero(j - i == len(photographs))
    assert right / len(photographs) >= least
    # Two meadows under the same large watermark are not told apart; nothing else is taken for one.
    assert right / len(i) >= (0.95 if "watermark" in name or "all" in name else 1)
