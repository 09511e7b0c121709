"""Data URLs with base64, and the media types of their contents. Pure."""

from __future__ import annotations

import binascii
import re
import string
from typing import NamedTuple

from shared.text.media_types import HEAD_BYTES, detect_media_type

_START = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,")
_DATA = (string.ascii_letters + string.digits + "+/=" + string.whitespace).encode()
_HEAD_CHARACTERS = (HEAD_BYTES + 2) // 3 * 4  # of base64 text
_SPELLINGS = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}


class DataUrl(NamedTuple):
    """Content of a data URL: its media type, detected from the content if possible, and the base64 text."""

    media_type: str
    data: str


def parse_data_url(url: str) -> DataUrl | None:
    """Return the content of a data URL; None for other URLs."""
    start = _START.match(url)
    if start is None:
        return None
    data = url[start.end() :]
    if not data.isascii() or data.encode().translate(None, delete=_DATA):  # three times faster than a regular expression
        return None
    return DataUrl(_media_type(start["type"].lower(), data), data)


def data_url_type(url: str) -> str:
    """Return the media type of a data URL, like `parse_data_url`, but without a check of its data. "" for other URLs."""
    if not url.startswith("data:"):
        return ""
    start = _START.match(url)
    if start is None:
        return url[len("data:") :].partition(";")[0].strip().lower()
    return _media_type(start["type"].lower(), url[start.end() : start.end() + 2 * _HEAD_CHARACTERS])


def _media_type(label: str, data: str) -> str:
    """Detect the media type: clients often label images wrongly, and providers reject wrong labels.

    Labels of audio, video and text are kept, because their first bytes are ambiguous.
    """
    if label.startswith(("audio/", "video/", "text/")):
        return label
    text = "".join(data[: 2 * _HEAD_CHARACTERS].split())[:_HEAD_CHARACTERS]
    try:
        head = binascii.a2b_base64(text[: len(text) // 4 * 4])
    except binascii.Error:
        head = b""
    found = "application/pdf" if head.startswith(b"%PDF-") else detect_media_type(head)
    return found or _SPELLINGS.get(label, label)
