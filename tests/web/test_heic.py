"""A photograph as an iPhone takes it, sent to a real server."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.pictures.test_door import encoded
from tests.pictures.test_heif import heic
from tests.web.conftest import Live

pytestmark = pytest.mark.slow


def test_it_is_answered_as_the_same_png_and_a_damaged_one_refused(live: Live) -> None:
    plain = Image.new("RGB", (120, 90), (250, 230, 20))
    answer = live.post("/api/predict", files={"file": ("IMG_1.HEIC", heic(plain))})
    assert answer.status_code == 200, answer.text
    as_png = live.post("/api/predict", files={"file": encoded(plain, "PNG")})
    assert answer.json()["label"] == as_png.json()["label"] == "dandelion"
    assert answer.json()["probabilities"] == pytest.approx(as_png.json()["probabilities"], abs=0.02)
    broken = live.post("/api/predict", files={"file": heic(plain)[:-100]})
    assert broken.status_code == 422, broken.text
    assert live.post("/api/predict", files={"file": heic(plain)}).status_code == 200
    page = live.post("/upload", files={"file": ("IMG_1.HEIC", heic(plain))})
    assert page.status_code == 200 and "dandelion" in page.text
