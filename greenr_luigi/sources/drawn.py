"""Drawings of flowers, for the source `sample`.

Dandelions stand in grass, and grass stands alone; every other label is a flower whose shape and colours
follow from a digest of its name. Light, ground, size, tilt, number, sharpness and noise vary by picture.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

#: Another one gives other drawings.
SEED = 0
#: Pixels; drawn twice as large and shrunk, which smooths the edges.
SIDE = 256
SCALE = 2
#: Meadow, moss, straw, soil, stone, shade and sky: what lies behind, in any class.
GROUNDS = [
    (70, 110, 40), (95, 130, 60), (150, 140, 90), (105, 80, 55), (130, 130, 125), (30, 50, 30), (150, 180, 210),
]  # fmt: skip


@dataclass(frozen=True)
class Flower:
    """Colours as hue from 0 to 1; `petals` in each of `rings`; `width` of a petal against its length."""

    hue: float
    saturation: float
    petals: int
    rings: int
    width: float
    heart_hue: float
    heart: float


DANDELION = Flower(hue=0.145, saturation=0.95, petals=34, rings=4, width=0.16, heart_hue=0.125, heart=0.2)


def encoded(label: str, number: int) -> bytes:
    """A drawing as JPEG."""
    buffer = io.BytesIO()
    rng = random.Random(f"quality {SEED} {label} {number}")
    draw(label, number).save(buffer, "JPEG", quality=rng.randint(75, 95))
    return buffer.getvalue()


def flower_of(label: str) -> Flower | None:
    """What grows on the pictures of a label; None is grass alone."""
    name = label.strip().casefold()
    if name in ("grass", "dandelion"):
        return DANDELION if name == "dandelion" else None
    digest = hashlib.sha256(name.encode("utf-8", "replace")).digest()
    # No green ones: they would hide in the grass.
    hue = (0.47 + 0.75 * digest[0] / 256) % 1
    petals, rings = 3 + digest[2] % 14, 1 + digest[3] % 2
    saturation, width = 0.35 + digest[1] / 400, 0.25 + digest[4] / 400
    return Flower(hue, saturation, petals, rings, width, digest[5] / 256, 0.12 + digest[6] / 1000)


def draw(label: str, number: int) -> Image.Image:
    """One drawing, RGB, about SIDE pixels a side."""
    rng = random.Random(f"{SEED} {label} {number}")
    width, height = (rng.randint(SIDE * 7 // 8, SIDE * 9 // 8) * SCALE for _ in range(2))
    flower = flower_of(label)
    image = _ground(rng, width, height)
    canvas = ImageDraw.Draw(image)
    blades = rng.randint(40, 170) if flower else rng.randint(70, 260)
    behind = rng.randint(0, blades) if flower else blades
    lean = rng.uniform(-0.3, 0.3)
    _grass(rng, canvas, width, height, behind, lean)
    if flower:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            _bloom(rng, canvas, width, height, flower)
        _grass(rng, canvas, width, height, (blades - behind) // 4, lean)
    return _photographed(rng, image.resize((width // SCALE, height // SCALE), Image.Resampling.BOX))


def _ground(rng: random.Random, width: int, height: int) -> Image.Image:
    """Two of the grounds, one below the other or mixed, in soft blotches."""
    below, above = np.array(rng.choices(GROUNDS, k=2), dtype=np.float32)
    cells = rng.randint(3, 14)
    noise = np.random.default_rng(rng.getrandbits(64))
    share = np.linspace(0, 1, cells, dtype=np.float32)[:, None]
    share = share + noise.normal(0, 0.25, (cells, cells)).astype(np.float32)
    blotches = above + (below - above) * share.clip(0, 1)[..., None] + noise.normal(0, 12, (cells, cells, 1))
    image = Image.fromarray(blotches.clip(0, 255).astype(np.uint8))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _grass(
    rng: random.Random, canvas: ImageDraw.ImageDraw, width: int, height: int, blades: int, lean: float
) -> None:
    """Blades rise from the lower two thirds, each bent like a bow; the farther ones are smaller and
    darker."""
    hue, length, thickness = rng.uniform(0.2, 0.33), rng.uniform(0.15, 0.5), rng.uniform(0.008, 0.025)
    for far in sorted(rng.random() for _ in range(blades)):
        x, y = rng.uniform(-0.1, 1.1) * width, height * (0.45 + 0.65 * far)
        size = length * height * (0.5 + far) * rng.uniform(0.5, 1.3)
        angle = lean + rng.gauss(0, 0.35)
        bend = angle + rng.gauss(0, 0.5)
        middle = (x + size * 0.5 * math.sin(angle), y - size * 0.5 * math.cos(angle))
        tip = (middle[0] + size * 0.5 * math.sin(bend), middle[1] - size * 0.5 * math.cos(bend))
        half = thickness * width * (0.4 + far) / 2
        color = _color(hue + rng.gauss(0, 0.02), rng.uniform(0.45, 0.85), rng.uniform(0.25, 0.5) + 0.35 * far)
        base = [(x - half, y), (middle[0] - half * 0.8, middle[1])]
        canvas.polygon([*base, tip, (middle[0] + half * 0.8, middle[1]), (x + half, y)], fill=color)


def _bloom(rng: random.Random, canvas: ImageDraw.ImageDraw, width: int, height: int, flower: Flower) -> None:
    """A flower seen from above or aslant, on its stem."""
    radius = rng.uniform(0.1, 0.36) * width
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.12, 0.75) * height
    tilt, turn, light = rng.uniform(0.4, 1), rng.uniform(0, math.tau), rng.uniform(0.75, 1)
    foot = x + rng.gauss(0, 0.1) * width
    canvas.line([(x, y), (foot, height)], fill=_color(0.25, 0.6, 0.5 * light), width=max(3, int(radius / 12)))

    def place(distance: float, angle: float) -> tuple[float, float]:
        return x + distance * math.cos(angle), y + distance * tilt * math.sin(angle)

    for ring in range(flower.rings):
        reach = radius * (1 - 0.8 * ring / max(flower.rings, 1.3))
        for petal in range(flower.petals):
            angle = turn + math.tau * (petal + 0.5 * ring + rng.gauss(0, 0.12)) / flower.petals
            length = reach * rng.uniform(0.88, 1.06)
            spread = flower.width * rng.uniform(0.85, 1.1)
            half = [(0.45, spread * 0.9), (0.8, spread * 0.7)]
            outline = [(0.05, 0.0), *half, (1.0, 0.0), *((d, -a) for d, a in reversed(half))]
            shade = light * (0.8 + 0.2 * (ring + 1) / flower.rings) * rng.uniform(0.88, 1)
            fill = _color(flower.hue + rng.gauss(0, 0.006), flower.saturation, shade)
            canvas.polygon([place(length * d, angle + a) for d, a in outline], fill=fill)
    heart = radius * flower.heart
    box = [x - heart, y - heart * tilt, x + heart, y + heart * tilt]
    canvas.ellipse(box, fill=_color(flower.heart_hue, 0.8, 0.8 * light))


def _photographed(rng: random.Random, image: Image.Image) -> Image.Image:
    """Light of another colour and strength, a shadow across, some blur, some noise."""
    if rng.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(rng.choice((0, 0, 0.5, 1, 2))))
    pixels = np.asarray(image).astype(np.float32)
    light = np.array([rng.uniform(0.85, 1.15) for _ in range(3)], dtype=np.float32) * rng.uniform(0.6, 1.25)
    across = np.linspace(rng.uniform(0.7, 1), rng.uniform(0.8, 1.1), image.width, dtype=np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).normal(0, rng.uniform(1, 9), pixels.shape)
    lit = pixels * light * across[:, None] + noise.astype(np.float32)
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


def _color(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return int(red * 255), int(green * 255), int(blue * 255)
