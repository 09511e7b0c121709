"""Parses JSON bodies."""

from __future__ import annotations

import codecs
from typing import Any

import orjson

from edge.http.client_library_options import drop_client_options
from shared.core.errors import InvalidRequest
from shared.text.json_depth import is_too_deep


def parse_json_object(data: bytes, *, has_client_options: bool = False) -> dict[str, Any]:
    """Parse a JSON object. Rejects deep nesting, and client library options unless `has_client_options`."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.startswith(codecs.BOM_UTF8):  # parsers may ignore it (RFC 8259, section 8.1)
            return parse_json_object(data[len(codecs.BOM_UTF8) :], has_client_options=has_client_options)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
            raise InvalidRequest("The body appears to be UTF-16 or UTF-32. Send JSON as UTF-8.") from None
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if is_too_deep(data, body):
        raise InvalidRequest("The body is nested too deeply.")
    if not has_client_options:
        drop_client_options(body)
    return body
