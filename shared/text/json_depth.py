"""Detects JSON that is nested too deeply to be serialized. Pure."""

from __future__ import annotations

import orjson

# orjson parses 1,024 levels but serializes only 254. With fewer brackets than this, no check is needed.
_SAFE_BRACKETS = 240
_SHORT_BYTES = 1_024  # up to this size one `count` is faster than several `find`; in long texts it is 20 times slower


def is_too_deep(data: bytes, value: object) -> bool:
    """Return whether orjson cannot serialize `value`, parsed from `data`. Allows for one enclosing level."""
    if not (_occurs(b"[", data, _SAFE_BRACKETS // 2) or _occurs(b"{", data, _SAFE_BRACKETS // 2)):
        return False
    try:
        orjson.dumps([[value]])
    except orjson.JSONEncodeError:
        return True
    return False


def _occurs(character: bytes, data: bytes, times: int) -> bool:
    """Return whether `character` occurs more than this many times."""
    if len(data) <= _SHORT_BYTES:
        return data.count(character) > times
    at = -1
    for _ in range(times + 1):
        at = data.find(character, at + 1)
        if at < 0:
            return False
    return True
