import numpy as np
from PIL import Image, ImageOps

from greenr_luigi.dataset.views import view


def image(width=60, height=40):
    """Red grows to the right and green downwards, so that a part tells where it is from."""
    x, y = np.meshgrid(np.arange(width) * 4, np.arange(height) * 4)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 99)], 2).astype(np.uint8))


def test_the_first_view_is_the_picture():
    picture = image()
    assert view(picture, 0) is picture


def test_a_view_is_what_pixels_and_number_make_it():
    views = [np.asarray(view(image(), number)) for number in range(1, 6)]
    assert all(np.array_equal(one, view(image(), number)) for number, one in enumerate(views, 1))
    assert len({one.tobytes() for one in views}) == 5
    other = image()
    other.putpixel((0, 0), (1, 2, 3))
    assert np.asarray(view(other, 1)).shape != views[0].shape


def test_views_are_parts_of_a_quarter_and_more_and_one_in_two_is_mirrored():
    areas, mirrored = [], 0
    for number in range(1, 201):
        part = view(image(), number)
        areas.append(part.width * part.height / 2400)
        red = np.asarray(part, int)[part.height // 2, :, 0]
        mirrored += red[0] > red[-1]
    assert 0.22 < min(areas) < 0.35 and 0.85 < max(areas) <= 1
    assert 75 < mirrored < 125


def test_a_picture_of_any_shape_has_views():
    for size in ((1, 1), (300, 2), (2, 300)):
        for number in range(1, 20):
            part = view(image(*size), number)
            assert 0 < part.width <= size[0] and 0 < part.height <= size[1]
    assert ImageOps.mirror(image()) != image()
