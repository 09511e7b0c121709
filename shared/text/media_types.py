"""Detects media types from a file's first bytes, independent of declared types. Pure."""

from __future__ import annotations

HEAD_BYTES = 64
"""Number of bytes that `detect_media_type` needs; fewer only if the file is shorter."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
# Brands of MP4 files. Other brands of the container (HEIC, AVIF, QuickTime) are not served.
_MP4_BRANDS = frozenset(
    {b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42", b"avc1", b"dash", b"M4V "}
)
_MATROSKA = b"\x1aE\xdf\xa3"


def detect_media_type(head: bytes) -> str | None:
    """Return the media type of a file that begins with `head`: image, video or audio. None for anything else, such as HTML."""
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "audio/mp4" if head[8:12] == b"M4A " else "video/mp4" if head[8:12] in _MP4_BRANDS else None
    if head[:4] == _MATROSKA:
        # The document type is near the start of the header. Browsers do not play other Matroska files.
        return "video/webm" if b"webm" in head[4:HEAD_BYTES] else None
    return _frame_of_audio(head)


def _frame_of_audio(head: bytes) -> str | None:
    """Detect MP3 and AAC without a container: a frame starts with eleven or twelve set bits and fields with forbidden values.

    ISO/IEC 11172-3 2.4.2.3 (MPEG audio header) and 13818-7 6.2 (ADTS).
    """
    if len(head) < 4 or head[0] != 0xFF:
        return None
    layer = head[1] >> 1 & 3
    if head[1] & 0xF0 == 0xF0 and layer == 0:
        return "audio/aac" if head[2] >> 2 & 0xF < 13 else None
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    is_mp3 = head[1] & 0xE0 == 0xE0 and version != 1 and layer == 1 and 0 < bitrate < 15 and rate < 3
    return "audio/mpeg" if is_mp3 else None
