"""The duration of Ogg files with Opus or Vorbis, computed from all their packets. Pure.

Readers differ in which pages they accept and which of several streams they decode, so all packets of all pages count, whatever
their checksums, numbers and streams are. Sources: RFC 3533 (Ogg), RFC 6716 and 7845 (Opus), "Vorbis I specification".
"""

from __future__ import annotations

MAX_PACKETS = 500_000  # a file with more was probably crafted to be slow to read, or is hours long
_MAX_PAGES = 100_000
_HEAD_BYTES = 27
_CONTINUED = 1  # flag of a page that begins with the rest of a packet
MAX_OPUS_SECONDS = 0.12  # of a packet
_OPUS_RATE = 48_000
# Milliseconds of an Opus frame by configuration.
_OPUS_FRAMES = (*(10, 20, 40, 60) * 3, *(10, 20) * 2, *(2.5, 5, 10, 20) * 4)
# Seconds of an Opus packet by its first byte; None if the second one has the number of frames.
_OPUS_PACKETS = tuple(
    None if first & 3 == 3 else _OPUS_FRAMES[first >> 3] * (1 if first & 3 == 0 else 2) / 1_000 for first in range(256)
)


class TooLong(Exception):
    """The file has more than `MAX_PACKETS` packets."""


def ogg_seconds(data: bytes) -> float | None:
    """Return the duration in seconds; None if the file has a stream of another format. Raises `TooLong`."""
    streams: dict[bytes, _Stream] = {}
    position = pages = packets = 0
    while (position := data.find(b"OggS", position)) >= 0 and position + _HEAD_BYTES <= len(data):
        flags, count = data[position + 5], data[position + 26]
        table = data[position + _HEAD_BYTES : position + _HEAD_BYTES + count]
        pages, packets = pages + 1, packets + count
        if data[position + 4] != 0:  # version
            return None
        if pages > _MAX_PAGES or packets > MAX_PACKETS:
            raise TooLong
        serial = data[position + 14 : position + 18]
        stream = streams.get(serial)
        if stream is None:
            stream = streams[serial] = _Stream()
        stream.add_time(int.from_bytes(data[position + 6 : position + 14], "little", signed=True))
        if not stream.add_packets(data, table, position + _HEAD_BYTES + count, continues=bool(flags & _CONTINUED)):
            return None
        position += 1  # not after the page: a reader that rejects the page searches in it for the next one
    return sum(stream.seconds for stream in streams.values()) if streams else None


class _Stream:
    """One logical stream. A new header in the middle begins another stream with the same serial number."""

    __slots__ = ("_first", "_is_opus", "_is_vorbis", "_last", "_opus_seconds", "_packets", "_rate", "_vorbis", "_vorbis_packets")

    def __init__(self) -> None:
        self._packets = self._vorbis_packets = 0
        self._is_opus = self._is_vorbis = False
        self._opus_seconds = self._vorbis = 0.0
        self._rate = _OPUS_RATE
        self._first = self._last = -1

    @property
    def seconds(self) -> float:
        counted = (self._opus_seconds if self._is_opus else 0) + self._vorbis_packets * self._vorbis
        return max(counted, (self._last - self._first) / self._rate)

    def add_time(self, samples: int) -> None:
        """Add the position at the end of a page, which some readers use; -1 if no packet ends there."""
        if samples >= 0:
            self._first = samples if self._first < 0 else min(self._first, samples)
            self._last = max(self._last, samples)

    def add_packets(self, data: bytes, table: bytes, position: int, *, continues: bool) -> bool:
        """Add the packets that begin in a page. Returns False if the stream has another format."""
        begins = not continues
        for size in table:
            if begins and not self._add(data, position, size):
                return False
            position += size
            begins = size < 255
        return True

    def _add(self, data: bytes, position: int, size: int) -> bool:
        number, self._packets = self._packets, self._packets + 1
        first = data[position] if size and position < len(data) else 0
        if first == 0x4F and data.startswith(b"OpusHead", position):
            self._is_opus = True
            if number == 0:
                return True
        elif first == 1 and data.startswith(b"\x01vorbis", position):
            self._is_vorbis = True
            rate, longest = vorbis_header(data[position : position + 30])
            if not rate:
                return False
            self._rate = min(self._rate, rate)
            self._vorbis = max(self._vorbis, longest / 2 / rate)
        elif number == 0:
            return False
        if self._is_opus and not (number == 1 and data.startswith(b"OpusTags", position)):
            self._opus_seconds += opus_seconds(data, position, size)
        if self._is_vorbis and not first & 1:
            self._vorbis_packets += 1
        return True


def opus_seconds(data: bytes, position: int, size: int) -> float:
    """Return the seconds of the Opus packet at `position`; for an invalid packet, the longest possible duration."""
    if not size or position >= len(data):
        return MAX_OPUS_SECONDS
    seconds = _OPUS_PACKETS[data[position]]
    if seconds is not None:
        return seconds
    if size == 1 or position + 1 == len(data):
        return MAX_OPUS_SECONDS
    return min((data[position + 1] & 63) * _OPUS_FRAMES[data[position] >> 3] / 1_000, MAX_OPUS_SECONDS)


def vorbis_header(packet: bytes) -> tuple[int, int]:
    """Return the sample rate and the longest block in samples, of which a packet has at most half; zeros if it is no header."""
    if len(packet) < 30 or not packet.startswith(b"\x01vorbis"):
        return 0, 0
    return int.from_bytes(packet[12:16], "little"), 1 << max(packet[28] & 15, packet[28] >> 4)
