"""The real photographs, which lie beside the checkout and are not part of it."""

from pathlib import Path

import pytest

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="../shared/photos is not there: real photographs"
)
