"""Renders the images of demo-image."""

import io

import numpy
from PIL import Image

from embedded.image_label import draw_caption
from embedded.procedural_image import build_scene, render_scene

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


def render_image(prompt: str, index: int, width: int, height: int, format: str) -> bytes:
    """Return the `index`th image of a prompt as a file. The same arguments give the same bytes."""
    # Fixed noise of less than one color step hides banding in the sky.
    noise = numpy.random.default_rng(0).uniform(-0.7, 0.7, (height, width, 1)).astype(numpy.float32)
    pixels = numpy.clip(render_scene(build_scene(prompt, index), width, height) + noise, 0, 255).astype(numpy.uint8)
    image = Image.fromarray(pixels).convert("RGBA")
    image.alpha_composite(draw_caption(prompt, width, height))
    file = io.BytesIO()
    image.convert("RGB").save(file, FORMATS[format], quality=88)
    return file.getvalue()
