"""The bytes that RFC 9110 and RFC 9112 allow, as tables for the two directions of a connection."""

import re

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

# Everything a field value may hold: HTAB, SP, the visible characters, and bytes above ASCII.
FIELD_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])

CRLF = b"\r\n"

_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_BYTES = 64
_lower: dict[bytes, bytes] = {}


def lower_name(name: bytes) -> bytes | None:
    """The field name in lower case, or None where it is no token (so also for one with a space before its colon).

    Names come from a small vocabulary, so they are checked once and then looked up; a peer that invents names
    cannot grow the table without end.
    """
    known = _lower.get(name)
    if known is not None:
        return known
    if TOKEN.fullmatch(name) is None:
        return None
    lowered = name.lower()
    if len(_lower) < _MAX_REMEMBERED and len(name) <= _MAX_REMEMBERED_BYTES:
        _lower[name] = lowered
    return lowered


def are_lines(block: bytes, count: int) -> bool:
    """Whether ``block`` is exactly ``count`` CRLF-ended lines of field bytes: no bare CR or LF, no NUL."""
    return block.translate(None, FIELD_BYTES) == CRLF * count
