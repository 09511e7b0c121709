"""The grammar of HTTP header fields (RFC 9110 and RFC 9112), for requests and responses."""

import re

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

# The bytes allowed in a field value: HTAB, SP, visible characters, and bytes above ASCII.
FIELD_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])

CRLF = b"\r\n"

_MAX_CACHED = 1024
_MAX_CACHED_BYTES = 64


class _LowerNames(dict[bytes, bytes | None]):
    """Field names in lower case; None for a name that is not a token (for example, with a space before the colon).

    Valid names are cached. The cache is bounded, because a client can invent any number of names.
    """

    def __missing__(self, name: bytes) -> bytes | None:
        if TOKEN.fullmatch(name) is None:
            return None
        lowered = name.lower()
        if len(self) < _MAX_CACHED and len(name) <= _MAX_CACHED_BYTES:
            self[name] = lowered
        return lowered


LOWER_NAMES = _LowerNames()


def is_valid_block(block: bytes, count: int) -> bool:
    """Return whether ``block`` is exactly ``count`` CRLF-terminated lines of field bytes: no bare CR or LF, no NUL."""
    return block.translate(None, FIELD_BYTES) == CRLF * count
