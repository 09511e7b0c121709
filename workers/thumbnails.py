"""Creates thumbnails of generated images, for the media page."""

from __future__ import annotations

import io
import logging

from PIL import Image

log = logging.getLogger("yout.worker.media")

MIN_IMAGE_BYTES = 50_000  # smaller images need no thumbnail
MAX_IMAGE_BYTES = 50_000_000
MAX_PIXELS = 64_000_000  # a larger image could take gigabytes to decode
SIZE = 640  # pixels, of the longer side: sharp on screens with two pixels per point
QUALITY = 75
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def create_thumbnail(data: bytes) -> bytes | None:
    """Return a smaller WebP image without metadata, or None if `data` cannot be decoded or is too large."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.thumbnail((SIZE, SIZE))
            written = io.BytesIO()
            image.convert("RGBA" if image.has_transparency_data else "RGB").save(written, "WEBP", quality=QUALITY)
    except Exception as error:  # decoders raise many types for damaged images; the image itself is delivered anyway
        log.warning("no thumbnail: %s", type(error).__name__)
        return None
    return written.getvalue()
