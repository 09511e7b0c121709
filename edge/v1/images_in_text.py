"""Images in answers, on surfaces that have no place for them, and what becomes of them when they come back. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from shared.sniff import HEAD_BYTES, media_type

_DATA_URL = r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=]+"
_MARKDOWN = re.compile(rf"!\[image\]\(({_DATA_URL})\)", re.ASCII)


def as_markdown(url: str) -> str:
    """An image as text: what chat clients show as an image."""
    return f"![image]({url})"


def without_images(text: str) -> tuple[str, list[str]]:
    """A text without images that `as_markdown` wrote, and the URLs of these: as text, a model would read base64."""
    urls = _MARKDOWN.findall(text) if "](data:image/" in text else []
    return (_MARKDOWN.sub("", text), urls) if urls else (text, [])


def image_url(data: str) -> str:
    """The data URL of an image in base64, with the type of what it is."""
    try:
        head = base64.b64decode(data[: HEAD_BYTES * 4 // 3 // 4 * 4])
    except (binascii.Error, ValueError):
        head = b""
    return f"data:{media_type(head) or 'image/png'};base64,{data}"
