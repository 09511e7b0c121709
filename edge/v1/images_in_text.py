"""Images as Markdown in text, for API formats without images in answers, and back. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from shared.text.media_types import HEAD_BYTES, detect_media_type

_DATA_URL = r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=]+"
_MARKDOWN = re.compile(rf"!\[image\]\(({_DATA_URL})\)", re.ASCII)


def as_markdown(url: str) -> str:
    """Return Markdown that chat clients render as the image."""
    return f"![image]({url})"


def without_images(text: str) -> tuple[str, list[str]]:
    """Remove the images of `as_markdown`, so that models do not read base64 as text. Return the text and the image URLs."""
    urls = _MARKDOWN.findall(text) if "](data:image/" in text else []
    return (_MARKDOWN.sub("", text), urls) if urls else (text, [])


def image_url(data: str) -> str:
    """Return the data URL of a base64 image. The media type is detected from its content."""
    try:
        head = base64.b64decode(data[: HEAD_BYTES * 4 // 3 // 4 * 4])
    except (binascii.Error, ValueError):
        head = b""
    return f"data:{detect_media_type(head) or 'image/png'};base64,{data}"
