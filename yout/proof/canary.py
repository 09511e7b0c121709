"""Canaries: unguessable strings, one for each place of a request, and the forms in which they could be stored."""

from __future__ import annotations

import base64
import secrets
import string
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_ALPHABET = string.ascii_lowercase + string.digits
_PREFIX_CHARS = 15  # 77 bits
_MAX_INFLATED_BYTES = 4 * 2**20
_MAX_STREAMS = 200  # compressed streams to try in one piece of data
_MAX_DEPTH = 3
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
_GZIP, _ZLIB = b"\x1f\x8b\x08", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
# Beginnings of the same in base64; the third character also has two bits of the next byte.
_BASE64_STREAMS = (b"H4sI", *(start + bytes([third]) for start, thirds in (
    (b"eA", b"EFGH"), (b"eF", b"4567"), (b"eJ", b"wxyz"), (b"eN", b"opqr")) for third in thirds))  # fmt: skip


class Found(NamedTuple):
    """A canary that was found: its name, and the form."""

    canary: str
    form: str


def new_prefix() -> str:
    """Return the random beginning of all canaries of a check: letters and digits, which no usual escaping changes."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_CHARS))


def forms(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield the encoded forms of a text. Base64 is matched as it is, all others in lower case."""
    data = text.encode()
    yield "plain", data
    yield "hex", data.hex().encode()
    for offset in range(3):
        yield "base64", _base64_core(data, offset)
    yield "JSON escapes", "".join(f"\\u{ord(letter):04x}" for letter in text).encode()
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in data).encode()
    yield "UTF-16", text.encode("utf-16-le")


def _base64_core(data: bytes, offset: int) -> bytes:
    """Return what the base64 of any text contains that has `data` at a position with this remainder of three."""
    encoded = base64.b64encode(b"\0" * offset + data).rstrip(b"=")
    start = (offset * 8 + 5) // 6
    return encoded[start : (offset + len(data)) * 8 // 6]


class Finder:
    """Finds canaries in bytes: `canaries` by name, all of which begin with `prefix`, and `others`, such as a key."""

    def __init__(self, prefix: str, canaries: Mapping[str, str], others: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix
        self._needles = list(forms(prefix))
        self._forms = [Needle(name, form, data) for name, text in canaries.items() for form, data in forms(text)]
        self._others = [Needle(name, form, data) for name, text in (others or {}).items() for form, data in forms(text)]

    def sql_needles(self) -> list[str]:
        """Return the texts to search for in SQL, in lower case, except for base64."""
        others = [(one.form, one.data) for one in self._others]
        return [data.decode() for form, data in (*self._needles, *others) if form != "UTF-16"]

    def find(self, data: bytes) -> set[Found]:
        """Return the canaries in `data`, also if compressed with gzip or deflate, and base64 of that."""
        found: set[Found] = set()
        for piece, how in _pieces(data, _MAX_DEPTH):
            found.update(Found(one.name, f"{one.form}{how}") for one in self._find(piece))
        return found

    def _find(self, data: bytes) -> Iterator[Needle]:
        lower = data.lower()
        seen = False
        for form, needle in self._needles:
            if needle in (data if form == "base64" else lower):
                seen = True
                yield from self._named(data, lower, form)
        if seen or self._others:
            yield from (one for one in self._others if one.is_in(data, lower))

    def _named(self, data: bytes, lower: bytes, form: str) -> list[Needle]:
        """Return the canaries that occur in this form; one named "truncated" if only the prefix does."""
        named = [one for one in self._forms if one.form == form and one.is_in(data, lower)]
        return named or [Needle("truncated", form, b"")]


class Needle(NamedTuple):
    """One form of a canary."""

    name: str
    form: str
    data: bytes

    def is_in(self, data: bytes, lower: bytes) -> bool:
        return (self.data if self.form == "base64" else self.data.lower()) in (data if self.form == "base64" else lower)


def _pieces(data: bytes, depth: int) -> Iterator[tuple[bytes, str]]:
    """Yield the data, and everything compressed in it."""
    yield data, ""
    if not depth:
        return
    for place, window in _streams(data):
        inflated = _inflate(data[place:], window)
        if len(inflated) > 8:
            yield from ((piece, f", compressed{how}") for piece, how in _pieces(inflated, depth - 1))
    for encoded in _encoded_streams(data):
        yield from ((piece, f", base64{how}") for piece, how in _pieces(encoded, depth - 1) if how)


def _streams(data: bytes) -> Iterator[tuple[int, int]]:
    tried = 0
    for magic in (_GZIP, *_ZLIB):
        place = data.find(magic)
        while place >= 0 and tried < _MAX_STREAMS:
            tried += 1
            yield place, 31 if magic == _GZIP else 15
            place = data.find(magic, place + 1)


def _encoded_streams(data: bytes) -> Iterator[bytes]:
    tried = 0
    for magic in _BASE64_STREAMS:
        place = data.find(magic)
        while place >= 0 and tried < _MAX_STREAMS:
            tried += 1
            end = place
            while end < len(data) and end - place < _MAX_INFLATED_BYTES and data[end] in _BASE64:
                end += 1
            text = data[place:end].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            yield base64.b64decode(text[: len(text) // 4 * 4])
            place = data.find(magic, place + 1)


def _inflate(data: bytes, window: int) -> bytes:
    try:
        return zlib.decompressobj(window).decompress(data[:_MAX_INFLATED_BYTES], _MAX_INFLATED_BYTES)
    except zlib.error:
        return b""
