from io import BytesIO
from tempfile import TemporaryFile

import pytest
import torch
from PIL import Image

from greenr_luigi.dataset import pixels
from greenr_luigi.training.activations import Activations

pytestmark = pytest.mark.slow


@pytest.fixture
def activations(tmp_path):
    """At three pictures of 8 pixels a side, of noise."""
    paths = []
    for number in range(3):
        noise = torch.randint(0, 255, (8, 8, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(noise.to(torch.uint8).numpy()).save(data := BytesIO(), "PNG")
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(data.getvalue())
    with TemporaryFile() as file:
        yield Activations(file, paths, 8)


def below(batch: pixels.Pixels) -> torch.Tensor:
    return torch.tensor(batch).permute(0, 3, 1, 2).float()


def test_all_pictures_are_looked_at_in_one_view_after_the_other(activations):
    activations.take(below, 7)
    assert activations.number == 7 and [activations.views(picture) for picture in range(3)] == [3, 2, 2]
    for picture, path in enumerate(activations.paths):
        for view in range(activations.views(picture)):
            expected = below(pixels.read_pixels(path, 8, view=view)[None])
            assert torch.equal(activations.batch([activations.row(picture, view)]), expected)


def test_looking_ends_when_told(activations):
    told: list[int] = []
    activations.take(below, 9, lambda number: bool(told.append(number)) or number < 6)
    assert told == [3, 6] and activations.number == 6
    assert [activations.views(picture) for picture in range(3)] == [2, 2, 2]
