"""Draws a procedural landscape from a prompt.

The prompt is not understood: its hash seeds the scene, and a few of its words select the colors and whether there is water.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

Field = NDArray[numpy.float32]
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """The sky from zenith to horizon, its light, and the farthest and nearest ridge, as RGB."""

    zenith: Color
    middle: Color
    horizon: Color
    light: Color
    far: Color
    near: Color
    stars: bool = False


PALETTES = {
    "dawn": Palette((72, 96, 160), (224, 150, 150), (255, 214, 170), (255, 240, 210), (196, 142, 150), (52, 44, 78)),
    "noon": Palette((46, 120, 200), (130, 186, 232), (222, 238, 246), (255, 252, 236), (150, 184, 196), (34, 92, 84)),
    "dusk": Palette((48, 30, 88), (188, 70, 96), (255, 170, 92), (255, 222, 150), (150, 72, 98), (28, 16, 44)),
    "night": Palette((6, 10, 32), (22, 34, 78), (64, 84, 132), (236, 240, 255), (50, 66, 108), (6, 8, 22), stars=True),
    "aurora": Palette((8, 16, 40), (16, 84, 92), (110, 190, 150), (224, 255, 236), (38, 92, 96), (6, 18, 28), stars=True),
    "snow": Palette((110, 142, 184), (188, 206, 226), (240, 242, 248), (255, 255, 255), (206, 216, 232), (88, 108, 142)),
    "desert": Palette((70, 132, 178), (206, 190, 160), (250, 222, 170), (255, 246, 214), (222, 168, 112), (122, 58, 36)),
    "forest": Palette((64, 124, 150), (158, 196, 176), (230, 236, 200), (255, 250, 220), (128, 166, 136), (16, 52, 40)),
}
# Prompt words (prefixes) that select a palette.
WORDS = {
    "dawn": ("dawn", "sunrise", "morning", "pink", "spring", "flower"),
    "noon": ("noon", "day", "blue", "sky", "summer", "sunny"),
    "dusk": ("dusk", "sunset", "evening", "red", "orange", "fire", "autumn", "romantic"),
    "night": ("night", "moon", "star", "space", "dark", "city", "galaxy", "midnight"),
    "aurora": ("aurora", "northern", "magic", "dream", "neon", "cyber", "alien"),
    "snow": ("snow", "ice", "winter", "white", "cold", "polar", "frozen"),
    "desert": ("desert", "sand", "dune", "mars", "canyon", "hot", "yellow"),
    "forest": ("forest", "tree", "green", "wood", "garden", "grass", "jungle", "meadow"),
}
WATER = (
    "sea",
    "lake",
    "ocean",
    "water",
    "river",
    "beach",
    "island",
    "boat",
    "ship",
    "fish",
    "whale",
    "harbour",
    "harbor",
    "coast",
)
RIDGES = 5
_DRIFT = 0.006  # movement of the nearest ridge per second, in image widths


@dataclass(frozen=True, slots=True)
class Scene:
    """Coordinates are fractions of the image: 0 is left or top, 1 is right or bottom."""

    palette: Palette
    light_x: float
    light_y: float
    light_radius: float
    waterline: float | None
    waves: tuple[tuple[tuple[float, float, float], ...], ...]  # per ridge: (frequency, phase, height)
    stars: Field  # x, y, brightness, phase


def build_scene(prompt: str, index: int) -> Scene:
    """Return the scene of a prompt; `index` distinguishes several images of one prompt."""
    seed = int.from_bytes(hashlib.sha256(f"{index}\n{prompt}".encode()).digest()[:8], "big")
    random = numpy.random.default_rng(seed)
    words = re.findall(r"[a-z]+", prompt.lower())
    fitting = [name for name, beginnings in WORDS.items() if any(word.startswith(beginnings) for word in words)]
    name = str(random.choice(fitting or list(PALETTES)))
    has_water = any(word in WATER or word.rstrip("s") in WATER for word in words) or (not fitting and random.random() < 0.4)
    return Scene(
        palette=PALETTES[name],
        light_x=float(random.uniform(0.18, 0.82)),
        light_y=float(random.uniform(0.16, 0.4)),
        light_radius=float(random.uniform(0.045, 0.075)),
        waterline=float(random.uniform(0.66, 0.74)) if has_water else None,
        waves=tuple(_waves(random, ridge) for ridge in range(RIDGES)),
        stars=random.random((160, 4)).astype(numpy.float32),
    )


def render_scene(scene: Scene, width: int, height: int, seconds: float = 0.0) -> Field:
    """Draw the scene as it looks after `seconds`: an array (height, width, 3) of values from 0 to 255."""
    y = numpy.linspace(0, 1, height, dtype=numpy.float32)[:, None]
    image = _sky(scene, width, height, y, seconds)
    for ridge in range(RIDGES):
        _add_ridge(image, scene, ridge, y, seconds)
    if scene.waterline is not None:
        _add_water(image, scene.palette, int(scene.waterline * height), seconds)
    return image


def _waves(random: Any, ridge: int) -> tuple[tuple[float, float, float], ...]:
    """Return sine waves that add up to a ridge, each with a higher frequency and a lower height than the one before."""
    base = random.uniform(0.7, 1.5) * (1 + 0.25 * ridge)
    height = 0.085 - 0.008 * ridge
    return tuple(
        (float(base * 2.07**octave), float(random.uniform(0, 2 * numpy.pi)), float(height * 0.5**octave)) for octave in range(6)
    )


def _mix(first: Color | Field, second: Color | Field, share: Any) -> Field:
    one, other = numpy.asarray(first, numpy.float32), numpy.asarray(second, numpy.float32)
    mixed: Field = (one + (other - one) * share).astype(numpy.float32)
    return mixed


def _sky(scene: Scene, width: int, height: int, y: Field, seconds: float) -> Field:
    palette = scene.palette
    upper = _mix(palette.zenith, palette.middle, numpy.clip(y / 0.38, 0, 1)[:, :, None])
    column = _mix(upper, palette.horizon, numpy.clip((y - 0.38) / 0.32, 0, 1)[:, :, None])
    x = numpy.linspace(0, 1, width, dtype=numpy.float32)[None, :]
    ratio = width / height
    far = numpy.hypot((x - scene.light_x - 0.01 * seconds) * ratio, y - scene.light_y + 0.004 * seconds)
    glow = numpy.exp(-((far / 0.34) ** 2)) * 0.55 + numpy.exp(-((far / 0.11) ** 2)) * 0.4
    disc = numpy.clip((scene.light_radius - far) * height + 0.5, 0, 1)
    image = _mix(numpy.broadcast_to(column, (height, width, 3)), palette.light, numpy.maximum(glow * 0.75, disc)[:, :, None])
    if palette.stars:
        _add_stars(image, scene, far, seconds)
    return image


def _add_stars(image: Field, scene: Scene, far_from_light: Field, seconds: float) -> None:
    height, width = image.shape[:2]
    for x, y, brightness, phase in scene.stars:
        column, row = int(x * (width - 2)), int(y * 0.6 * height)
        twinkle = 0.65 + 0.35 * numpy.sin(2 * numpy.pi * (phase + seconds * (0.2 + phase * 0.3)))
        strength = brightness**2 * twinkle * (1 - y) * (far_from_light[row, column] > 0.2)
        size = max(1, height // 540) + (1 if brightness > 0.9 else 0)
        spot = image[row : row + size, column : column + size]
        spot += (255 - spot) * strength


def _add_ridge(image: Field, scene: Scene, ridge: int, y: Field, seconds: float) -> None:
    height, width = image.shape[:2]
    x = numpy.linspace(0, width / height / 1.5, width, dtype=numpy.float32) + seconds * _DRIFT * (ridge + 1) / RIDGES
    line = numpy.full(width, 0.52 + 0.085 * ridge, numpy.float32)
    for frequency, phase, size in scene.waves[ridge]:
        line -= size * numpy.sin(2 * numpy.pi * frequency * x + phase, dtype=numpy.float32)
    inside = numpy.clip((y - line[None, :]) * height + 0.5, 0, 1)
    top = max(0, int(numpy.min(line) * height) - 1)
    color = _mix(scene.palette.far, scene.palette.near, (ridge / (RIDGES - 1)) ** 0.8)
    # Mist: each ridge is paler at its base than at its top.
    depth = numpy.clip((y[top:] - line[None, :]) / 0.22, 0, 1)[:, :, None]
    shaded = _mix(color, scene.palette.horizon, depth * 0.32 * (1 - ridge / RIDGES))
    image[top:] = _mix(image[top:], shaded, inside[top:, :, None])


def _add_water(image: Field, palette: Palette, begin: int, seconds: float) -> None:
    """Fill the rows from `begin` with a darkened, rippled reflection of what is above them."""
    height, width = image.shape[:2]
    rows = numpy.arange(begin, height)
    near = (rows - begin) / max(1, height - begin)
    shake = numpy.sin(near * 60 / (0.25 + near) + seconds * 2.2) * (0.002 + 0.010 * near) * height
    source = numpy.clip(2 * begin - rows * 1.0 - (rows - begin) * 0.35 + shake, 0, begin - 1).astype(int)
    slide = (numpy.sin(near * 45 + seconds * 1.7) * (0.001 + 0.006 * near) * width).astype(int)
    columns = (numpy.arange(width)[None, :] + slide[:, None]).clip(0, width - 1)
    mirrored = image[source[:, None], columns]
    tint = _mix(palette.zenith, palette.near, 0.35)
    image[begin:] = _mix(mirrored, tint, (0.22 + 0.3 * near)[:, None, None])
    edge = image[begin : begin + max(1, height // 400)]
    edge += (255 - edge) * 0.35
