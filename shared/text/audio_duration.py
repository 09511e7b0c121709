"""The duration of WAV, MP3, FLAC, Ogg and WebM files, computed from all their frames as a decoder does. Pure.

Durations in headers are not used: a caller could set a short one and be charged less than the
provider's bill. MP4 files are not read: FFmpeg decodes all AAC frames in a sample, however few samples the headers state, and
finding them needs a decoder. Sources: RIFF WAVE; ISO/IEC 11172-3 and 13818-3 (MPEG audio); RFC 9639 (FLAC).
"""

from __future__ import annotations

import re
from functools import cache
from math import ceil

from shared.text.matroska_duration import matroska_seconds
from shared.text.ogg_duration import TooLong, ogg_seconds

MAX_SECONDS = 86_400  # longer than any provider transcribes; the result for files with more frames than are read
_MAX_FLAC_FRAMES = 100_000  # a file with more was probably crafted to be slow to read
_MAX_BLOCKS = 1_000  # tags before MPEG audio or FLAC, and chunks of WAV
_MAX_MPEG_GAPS = 50_000
_MIN_COVERED = 0.9  # share of a file that must consist of frames
_PCM_FORMATS = (1, 3)  # integer, float
_EXTENSIBLE = 0xFFFE  # the format is at the end of the chunk, as a GUID that begins with one of the above
_PCM_GUID = bytes.fromhex("000000001000800000aa00389b71")  # the rest of the GUID
# MPEG audio: kbit/s by layer (3, 2, 1), for version 1 and for 2 and 2.5.
_BIT_RATES_1 = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
)
_LOW_BIT_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_BIT_RATES_2 = (_LOW_BIT_RATES, _LOW_BIT_RATES, (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256))
_SAMPLE_RATES = (44_100, 48_000, 32_000)
_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_FLAC_RATES = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


def audio_seconds(data: bytes) -> int | None:
    """Return the duration in seconds, rounded up; None for other formats, and for files that are not complete."""
    start = _after_id3(data)
    try:
        seconds = _seconds(data, start)
    except TooLong:
        seconds = MAX_SECONDS
    return None if seconds is None else min(ceil(round(seconds, 3)), MAX_SECONDS)


def _seconds(data: bytes, start: int) -> float | None:
    if data[start : start + 4] == b"fLaC":
        return _flac_seconds(data, start)
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav_seconds(data)
    if data[:4] == b"OggS":
        return ogg_seconds(data)
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return matroska_seconds(data)
    return _mpeg_seconds(data, start)


def _after_id3(data: bytes) -> int:
    """Return the position after the tags at the beginning (ID3v2)."""
    start = 0
    for _ in range(_MAX_BLOCKS):
        if data[start : start + 3] != b"ID3" or len(data) < start + 10:
            break
        size = 0
        for byte in data[start + 6 : start + 10]:
            size = size << 7 | byte & 0x7F
        start += size + (20 if data[start + 5] & 0x10 else 10)  # with or without a footer
    return start


def _wav_seconds(data: bytes) -> float | None:
    """Return the duration of uncompressed samples: all bytes after the header count."""
    position, rate = 12, None
    for _ in range(_MAX_BLOCKS):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if name == b"fmt ":
            if rate is not None:
                return None  # decoders differ in which of two formats they use
            rate = _wav_rate(data[position + 8 : position + 8 + min(size, 40)])
        elif name == b"data":
            return max(len(data) - position - 8, 0) / rate if rate else None
        position += 8 + size + size % 2
    return None


def _wav_rate(format: bytes) -> int:
    """Return the bytes per second of uncompressed samples; 0 for other formats."""
    if len(format) < 16:
        return 0
    kind, channels, samples = (int.from_bytes(format[at : at + width], "little") for at, width in ((0, 2), (2, 2), (4, 4)))
    if kind == _EXTENSIBLE and format[26:] == _PCM_GUID:
        kind = int.from_bytes(format[24:26], "little")
    return samples * channels * ceil(int.from_bytes(format[14:16], "little") / 8) if kind in _PCM_FORMATS else 0


def _mpeg_seconds(data: bytes, start: int) -> float | None:
    """Return the duration of a file that begins with a frame. Files of other formats may contain frames."""
    if data[start : start + 1] != b"\xff" or len(data) < start + 3 or _mpeg_frame(data[start + 1], data[start + 2]) is None:
        return None
    position, covered, gaps, seconds = start, 0, 0, 0.0
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data) and gaps <= _MAX_MPEG_GAPS:
        found = _mpeg_frame(data[position + 1], data[position + 2])
        if found is None:
            position, gaps = position + 1, gaps + 1
            continue
        size, duration = found
        position, covered, seconds = position + size, covered + size, seconds + duration
    return seconds if covered and covered >= _MIN_COVERED * (len(data) - start) else None


@cache
def _mpeg_frame(first: int, second: int) -> tuple[int, float] | None:
    """Return size and seconds of a frame with these bytes after 0xFF; None if they do not begin a frame."""
    version, layer, bit_rate, rate = first >> 3 & 3, first >> 1 & 3, second >> 4, second >> 2 & 3
    if first < 0xE0 or version == 1 or layer == 0 or bit_rate in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    kilobits = (_BIT_RATES_1 if is_first else _BIT_RATES_2)[layer - 1][bit_rate - 1]
    sample_rate = _SAMPLE_RATES[rate] // (1 if is_first else 2 if version == 2 else 4)
    samples = 384 if layer == 3 else 576 if layer == 1 and not is_first else 1_152
    padding = second >> 1 & 1
    slot = 4 if layer == 3 else 1
    size = (samples // (8 * slot) * kilobits * 1_000 // sample_rate + padding) * slot
    return size, samples / sample_rate


def _flac_seconds(data: bytes, start: int) -> float | None:
    """Return the sum of the durations of all frames, whose headers have a checksum. Silence has frames of a few bytes."""
    stream_rate = int.from_bytes(data[start + 18 : start + 21], "big") >> 4
    seconds = 0.0
    for count, match in enumerate(_FLAC_SYNC.finditer(data, start + 42)):
        if count >= _MAX_FLAC_FRAMES:
            return MAX_SECONDS
        seconds += _flac_frame(data[match.start() : match.start() + 16], stream_rate)
    return seconds or None


def _flac_frame(head: bytes, stream_rate: int) -> float:
    """Return the seconds of the frame with this header; 0 if it is none."""
    if len(head) < 6 or head[3] & 1:
        return 0.0
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number = head[4]  # of the frame or sample, coded as in UTF-8
    at = 5 if number < 0x80 else 4 + 8 - (number ^ 0xFF).bit_length()
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    rate_bytes = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = at + size_bytes + rate_bytes
    if size_code == 0 or rate_code == 15 or end >= len(head) or _crc8(head[:end]) != head[end]:
        return 0.0
    if size_bytes:
        samples = int.from_bytes(head[at : at + size_bytes], "big") + 1
    else:
        samples = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    rate = int.from_bytes(head[at + size_bytes : end], "big") * {12: 1_000, 14: 10}.get(rate_code, 1)
    if not rate_bytes:
        rate = _FLAC_RATES[rate_code] or stream_rate
    # If the rates differ, decoders use either.
    rate = min(rate or stream_rate, stream_rate or rate)
    return samples / rate if rate else 0.0


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc8_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
        table.append(value)
    return tuple(table)


_CRC8 = _crc8_table()
