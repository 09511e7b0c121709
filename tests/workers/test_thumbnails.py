"""Thumbnails of generated images: small, without metadata, and never a reason for a job to fail."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from workers.thumbnails import MAX_PIXELS, SIZE, create_thumbnail


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def noise(side: int) -> bytes:
    """A PNG of about three bytes for each pixel."""
    return encoded(Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)))


@pytest.mark.parametrize(
    ("image", "kind", "mode", "size"),
    [
        (Image.new("RGB", (1536, 1024), "red"), "PNG", "RGB", (SIZE, 427)),
        (Image.new("RGB", (1024, 1536), "red"), "JPEG", "RGB", (427, SIZE)),
        (Image.new("RGBA", (1024, 1024), (0, 0, 0, 0)), "PNG", "RGBA", (SIZE, SIZE)),
        (Image.new("P", (1000, 1000)), "GIF", "RGB", (SIZE, SIZE)),
        (Image.new("L", (300, 200)), "WEBP", "RGB", (300, 200)),
    ],
    ids=["wide", "high", "transparent", "gif", "small"],
)
def test_a_thumbnail_is_a_smaller_image(image: Image.Image, kind: str, mode: str, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret prompt"
    made = create_thumbnail(encoded(image, kind, exif=exif) if kind != "GIF" else encoded(image, kind))
    assert made is not None
    assert b"secret" not in made
    with Image.open(io.BytesIO(made)) as found:
        assert (found.format, found.mode, found.size) == ("WEBP", mode, size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        noise(40)[:-200],
        encoded(Image.new("L", (10, 10)), "BMP"),
        encoded(Image.new("1", (8_001, 8_000))),
    ],
    ids=["empty", "header", "cut", "other format", "too many pixels"],
)
def test_undecodable_data_has_no_thumbnail(data: bytes) -> None:
    assert MAX_PIXELS < 8_001 * 8_000
    assert create_thumbnail(data) is None
