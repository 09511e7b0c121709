"""The pictures of demo-image."""

import io

import numpy
from PIL import Image

from embedded.image_label import caption
from embedded.procedural_image import draw, scene_of

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


def paint(prompt: str, index: int, width: int, height: int, format: str) -> bytes:
    """The `index`th picture of a prompt, as a file. The same arguments give the same bytes."""
    # Half a step of noise, the same every time, hides the steps between the colours of the sky.
    noise = numpy.random.default_rng(0).uniform(-0.7, 0.7, (height, width, 1)).astype(numpy.float32)
    colours = numpy.clip(draw(scene_of(prompt, index), width, height) + noise, 0, 255).astype(numpy.uint8)
    picture = Image.fromarray(colours).convert("RGBA")
    picture.alpha_composite(caption(prompt, width, height))
    file = io.BytesIO()
    picture.convert("RGB").save(file, FORMATS[format], quality=88)
    return file.getvalue()
