"""The width and height of images in data URLs, as decoders read them from the beginning of the file. Pure.

Sources: PNG specification, IHDR; GIF89a, logical screen; WebP container (RFC 9649); ITU T.81 (JPEG), start of frame.
"""

from __future__ import annotations

import binascii

_HEAD_CHARACTERS = 400  # of base64: enough for formats other than JPEG
_JPEG_CHARACTERS = 1_000_000  # metadata comes before the size
_MAX_SEGMENTS = 1_000
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that begin a frame
_WITHOUT_SIZE = frozenset((0x01, *range(0xD0, 0xD8)))


def image_size(url: str) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, JPEG, GIF or WebP image in a data URL; None for anything else."""
    if not url.startswith("data:"):
        return None
    start = url.find(",", 0, 200) + 1
    head = _decoded(url[start : start + _HEAD_CHARACTERS])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    # The frames of a GIF may be larger than its screen, so the size is unknown.
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return None
    return _jpeg(_decoded(url[start : start + _JPEG_CHARACTERS])) if head.startswith(b"\xff\xd8") else None


def _decoded(text: str) -> bytes:
    """Return the bytes of base64 text that may be cut off; none if decoders would read it differently."""
    text = "".join(text.split())
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4], strict_mode=True)
    except (binascii.Error, ValueError):
        return b""


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        if position + 9 > len(data) or data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0:  # readers search for the next marker after it
            return None
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _FRAMES:
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        elif marker in _WITHOUT_SIZE:
            position += 2
        else:
            position += 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
    return None
