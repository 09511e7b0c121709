"""The duration of WebM and Matroska files with Opus or Vorbis, computed from all their blocks. Pure.

The sizes in the file are not trusted: all blocks count, whichever cluster they are in. If a reader could find other clusters
than these, the duration is unknown. Sources: RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.text.ogg_duration import MAX_OPUS_SECONDS, MAX_PACKETS, TooLong, opus_seconds, vorbis_header

_EBML, _SEGMENT, _CLUSTER, _TRACKS, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0x1549A966
_SEEK_HEAD = 0x114D9B74
_BLOCK_GROUP, _SIMPLE_BLOCK, _BLOCK, _TIMESTAMP = 0xA0, 0xA3, 0xA1, 0xE7
# Elements whose content is read, and those that are skipped: Cues, Tags, Chapters, Attachments, Void, CRC-32; of a
# cluster, Position and PrevSize; of a group, duration, references, padding and additions.
_ENTERED = frozenset({_SEGMENT, _CLUSTER, _BLOCK_GROUP})
_SKIPPED = frozenset({0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0xEC, 0xBF})
_SKIPPED |= {0xA7, 0xAB, 0x9B, 0xFB, 0x75A2, 0x75A1, 0xFA}
# Files with more were made to be slow to read.
_NUMBER_BYTES = 8  # RFC 8794: longer integers are invalid
_MAX_ELEMENTS = 2 * MAX_PACKETS
_MAX_CHILDREN = 1_000  # of a head with tracks, times or references


class _Element(NamedTuple):
    id: int
    start: int  # of the content
    size: int | None  # None: unknown


class _Track(NamedTuple):
    """An audio track: seconds per packet, or None for Opus, whose packets state their own duration."""

    packet_seconds: float | None


def matroska_seconds(data: bytes) -> float | None:
    """Return the duration in seconds; None if it is not known. Raises `TooLong`."""
    try:
        return _sum_of_blocks(data)
    except IndexError:  # the file ends within a block
        return None


def _sum_of_blocks(data: bytes) -> float | None:
    tracks: dict[int, _Track | None] | None = None
    scale, stated = 1_000_000, 0.0
    places: dict[int, int] = {}  # ids of four bytes, by position
    seeks: list[tuple[int, int]] = []  # ids and positions in the segment that SeekHead refers to
    blocks = elements = position = time = 0
    first, last, seconds, more = -1, 0, 0.0, 0.0
    length = len(data)
    while position < length:
        if data[position] == _SIMPLE_BLOCK and (size := data[position + 1]) >= 0x80 and size != 0xFF:  # most elements
            element: _Element | None = _Element(_SIMPLE_BLOCK, position + 2, size & 0x7F)
        else:
            element = _element(data, position)
        elements += 1
        if element is None or elements > _MAX_ELEMENTS:
            return None
        end = element.start + (element.size or 0)
        if element.id > 0xFFFFFF:
            places[position] = element.id
        if element.id in _ENTERED:
            end = element.start
        elif element.size is None:
            return None
        elif element.id in (_SIMPLE_BLOCK, _BLOCK):
            blocks += 1
            if blocks > MAX_PACKETS:
                raise TooLong
            found = _block(data, element, tracks)
            if found is None:
                return None
            offset, more = found
            first = time + offset if first < 0 else min(first, time + offset)
            last, seconds = max(last, time + offset), seconds + more
        elif element.id == _TIMESTAMP:
            if element.size > _NUMBER_BYTES:
                return None
            time = int.from_bytes(data[element.start : end], "big")
        elif element.id == _INFO:
            info = _info(data, element)
            if info is None:
                return None
            scale, stated = info
        elif element.id == _SEEK_HEAD:
            found_seeks = _seeks(data, element)
            if found_seeks is None or len(seeks) > _MAX_CHILDREN:
                return None
            seeks += found_seeks
        elif element.id == _TRACKS:
            tracks = _tracks(data, element) if tracks is None else None
            if tracks is None:
                return None
        elif element.id != _EBML and element.id not in _SKIPPED:
            return None
        position = end
    if not seconds or not _is_plain(data, places, seeks):
        return None
    return max(seconds, (last - first) * scale / 1e9 + more, stated * scale / 1e9)


def _is_plain(data: bytes, places: Mapping[int, int], seeks: Sequence[tuple[int, int]]) -> bool:
    """Return whether a reader can find no other clusters and tracks than those in `places`.

    Readers follow SeekHead, and after an error they search for the next known id, also in elements that are skipped here.
    """
    ids = list(places.values())
    begin = next((place for place, id in places.items() if id == _SEGMENT), None)
    segment = None if begin is None else _element(data, begin)
    if segment is None or any(ids.count(id) != 1 for id in (_SEGMENT, _TRACKS, _INFO)):
        return False
    if any(places.get(segment.start + offset) != id for id, offset in seeks):
        return False
    sought = [id for id, _ in seeks]
    return all(
        data.count(id.to_bytes(4, "big")) == ids.count(id) + sought.count(id) for id in (_SEGMENT, _TRACKS, _INFO, _CLUSTER)
    )


def _seeks(data: bytes, element: _Element) -> list[tuple[int, int]] | None:
    """Return the ids and positions in a SeekHead; None if it has anything else."""
    found = []
    children = _children(data, element)
    for entry in children or ():
        if entry.id in (0xEC, 0xBF):
            continue
        fields = {child.id: data[child.start : child.start + (child.size or 0)] for child in _children(data, entry) or ()}
        if entry.id != 0x4DBB or fields.keys() != {0x53AB, 0x53AC} or len(fields[0x53AB]) != 4:
            return None
        found.append((int.from_bytes(fields[0x53AB], "big"), int.from_bytes(fields[0x53AC], "big")))
    return None if children is None else found


def _element(data: bytes, position: int) -> _Element | None:
    """Return the head of the element at `position`; None if there is none."""
    id_bytes = 9 - data[position].bit_length()
    if id_bytes > 4 or position + id_bytes >= len(data):
        return None
    id = int.from_bytes(data[position : position + id_bytes], "big")
    position += id_bytes
    size_bytes = 9 - data[position].bit_length()
    if size_bytes > 8 or position + size_bytes > len(data):
        return None
    size = int.from_bytes(data[position : position + size_bytes], "big") ^ 1 << 7 * size_bytes
    return _Element(id, position + size_bytes, None if size == (1 << 7 * size_bytes) - 1 else size)


def _children(data: bytes, parent: _Element) -> list[_Element] | None:
    """Return the elements in an element of known size; None if they do not fill it exactly."""
    if parent.size is None or parent.start + parent.size > len(data):
        return None
    found: list[_Element] = []
    position, end = parent.start, parent.start + parent.size
    while position < end:
        child = _element(data, position)
        if child is None or child.size is None or len(found) == _MAX_CHILDREN:
            return None
        found.append(child)
        position = child.start + child.size
    return found if position == end else None


def _info(data: bytes, element: _Element) -> tuple[int, float] | None:
    """Return the nanoseconds of a unit of time, and the stated duration in units."""
    scale, stated = 1_000_000, 0.0
    for child in _children(data, element) or ():
        content = data[child.start : child.start + (child.size or 0)]
        if child.id == 0x2AD7B1:
            if len(content) > _NUMBER_BYTES:
                return None
            scale = int.from_bytes(content, "big")
        elif child.id == 0x4489 and len(content) in (4, 8):
            (stated,) = struct.unpack(">f" if len(content) == 4 else ">d", content)
    return (scale, stated) if scale and 0 <= stated < 1e15 else None


def _tracks(data: bytes, element: _Element) -> dict[int, _Track | None] | None:
    """Return the tracks by number, None for video; None if there is a track of another format."""
    found: dict[int, _Track | None] = {}
    for entry in _children(data, element) or ():
        if entry.id in _SKIPPED:
            continue
        fields = {child.id: data[child.start : child.start + (child.size or 0)] for child in _children(data, entry) or ()}
        number, kind = (int.from_bytes(fields.get(id, b""), "big") for id in (0xD7, 0x83))
        # Content that is compressed or encrypted, and a time scale of its own, change what the blocks mean.
        if entry.id != 0xAE or number in found or 0x6D80 in fields or 0x23314F in fields or kind not in (1, 2):
            return None
        codec = fields.get(0x86, b"").rstrip(b"\0")
        if kind == 1:
            found[number] = None
        elif codec == b"A_OPUS":
            found[number] = _Track(None)
        elif codec == b"A_VORBIS":
            private = fields.get(0x63A2, b"")
            rate, longest = vorbis_header(private[at : at + 30] if (at := private.find(b"\x01vorbis")) >= 0 else b"")
            if not rate or private.count(b"\x01vorbis") != 1:
                return None
            found[number] = _Track(longest / 2 / rate)
        else:
            return None
    return found


def _block(data: bytes, element: _Element, tracks: dict[int, _Track | None] | None) -> tuple[int, float] | None:
    """Return a block's time relative to its cluster, and the seconds of its packets; None if its track is not known."""
    start = element.start
    if data[start] < 0x80 or tracks is None or data[start] & 0x7F not in tracks:  # tracks above 126 are not read
        return None
    offset = ((data[start + 1] << 8 | data[start + 2]) ^ 0x8000) - 0x8000  # signed
    track = tracks[data[start] & 0x7F]
    if track is None:
        return offset, 0.0
    head = start + 1
    if data[head + 2] & 6:  # laced: several packets, whose positions are not read
        packets = data[head + 3] + 1
        return offset, packets * (MAX_OPUS_SECONDS if track.packet_seconds is None else track.packet_seconds)
    size = element.start + (element.size or 0) - head - 3
    return offset, opus_seconds(data, head + 3, max(size, 0)) if track.packet_seconds is None else track.packet_seconds
