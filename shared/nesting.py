"""JSON that is nested too deeply to be written again. Pure."""

from __future__ import annotations

import orjson

# orjson reads 1,024 levels and writes 254; with no more brackets than this there is nothing to try.
_SURELY_WRITTEN = 240


def too_deep(data: bytes, value: object) -> bool:
    """Whether `value`, which was read from `data`, cannot be written by orjson, with a level to spare for what it is put into."""
    if data.count(b"[") + data.count(b"{") <= _SURELY_WRITTEN:
        return False
    try:
        orjson.dumps([[value]])
    except orjson.JSONEncodeError:
        return True
    return False
