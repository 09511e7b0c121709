"""Detects JSON that is nested too deeply to be serialized. Pure."""

from __future__ import annotations

import orjson

# orjson parses 1,024 levels but serializes only 254. With fewer brackets than this, no check is needed.
_SAFE_BRACKETS = 240


def is_too_deep(data: bytes, value: object) -> bool:
    """Return whether orjson cannot serialize `value`, parsed from `data`. Allows for one enclosing level."""
    if data.count(b"[") + data.count(b"{") <= _SAFE_BRACKETS:
        return False
    try:
        orjson.dumps([[value]])
    except orjson.JSONEncodeError:
        return True
    return False
