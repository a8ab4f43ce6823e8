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
        yield Activations(file, paths, torch.tensor([0, 1, 0]), 8)


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


def test_batches_in_order_are_of_the_first_view(activations):
    activations.take(below, 7)
    x, y = (torch.cat(parts) for parts in zip(*activations.in_order(2), strict=True))
    assert torch.equal(x, activations.batch([0, 1, 2])) and y.tolist() == [0, 1, 0]


def test_an_epoch_has_each_chosen_picture_once_and_another_view_each_time(activations):
    activations.take(below, 9)
    loader, seen = activations.shuffled({0, 2}, 1), set[int]()
    for _ in range(30):
        rows = []
        for x, y in loader:
            [row] = [row for row in range(9) if torch.equal(activations.batch([row]), x)]
            rows.append(row)
            assert y.tolist() == [activations.labels[row % 3]]
        assert sorted(row % 3 for row in rows) == [0, 2]
        seen |= {*rows}
    assert seen == {0, 3, 6, 2, 5, 8}


def test_what_was_not_looked_at_is_in_no_batch(activations):
    activations.take(below, 1)
    assert [y.tolist() for _, y in activations.shuffled(range(3), 2)] == [[0]]
