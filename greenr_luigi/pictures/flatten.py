"""Whatever Pillow has decoded, as RGB on white paper, at its size or a fraction of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from greenr_luigi.pictures import depth

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

#: Pixels that are flattened at a time.
STRIP = 2_000_000
Box = tuple[int, int, int, int]


def flatten(
    image: Image.Image, factor: int, frame: Box | None, to_srgb: ImageCmsTransform | None
) -> Image.Image:
    """A decoded picture in RGB with a `factor`-th of its sides, each pixel the mean of those that it stands for.
    Strip by strip, which saves memory; colours are converted last, when there are fewest.

    `frame`: the part that was drawn; around it is paper. `to_srgb`: as of colour.conversion.
    """
    width, height = image.size
    rows = max(STRIP // width // factor, 1) * factor
    # What a profile converts stays as it is until then; transparency is kept apart until there are few pixels.
    mode = image.mode if to_srgb and image.mode in ("CMYK", "LAB") else "RGB"
    if image.has_transparency_data and (to_srgb or factor > 1):
        mode = "RGBa"
    # Of the whole picture, as one strip may be darker than another.
    bits = depth.bits_in_use(image) if image.mode.startswith("I") else 0

    def drawn(part: Image.Image, above: int) -> Image.Image:
        part = _in_mode(depth.grey_to_8_bits(part, bits) if bits else part, mode)
        if frame and frame != (0, 0, width, height):
            part = _framed(part, (frame[0], frame[1] - above, frame[2], frame[3] - above))
        return part

    if factor == 1 and rows >= height:
        small = drawn(image, 0)
    else:
        small = Image.new(mode, (-(-width // factor), -(-height // factor)))
        for above in range(0, height, rows):
            strip = drawn(image.crop((0, above, width, min(above + rows, height))), above)
            small.paste(strip.reduce(factor), (0, above // factor))
    return _converted(small, to_srgb) if to_srgb else _on_white(small) if mode == "RGBa" else small


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "RGBa":
        return image.convert("RGBA").convert(mode)
    if not image.has_transparency_data:
        return image.convert(mode)
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, layer).convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Colours that are weighted by their opacity, to which white adds what lets it through."""
    *colours, opacity = image.split()
    through = ImageChops.invert(opacity)
    return Image.merge("RGB", [ImageChops.add(colour, through) for colour in colours])


def _converted(image: Image.Image, to_srgb: ImageCmsTransform) -> Image.Image:
    if image.mode != "RGBa":
        return to_srgb.apply(image.convert(to_srgb.input_mode))
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, "white")
    paper.paste(to_srgb.apply(layer.convert("RGB").convert(to_srgb.input_mode)), mask=layer.getchannel("A"))
    return paper


def _framed(image: Image.Image, frame: Box) -> Image.Image:
    """What lies inside of a frame, on paper of the same size."""
    left, top, right, bottom = (
        frame[0],
        max(frame[1], 0),
        min(frame[2], image.width),
        min(frame[3], image.height),
    )
    paper = Image.new(image.mode, image.size, "white")
    if left < right and top < bottom:
        paper.paste(image.crop((left, top, right, bottom)), (left, top))
    return paper
