"""Fields of JSON bodies. Each function raises `InvalidRequest` that names the field."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from edge.http.client_library_options import drop_client_options
from shared.core.errors import InvalidRequest
from shared.text.json_depth import is_too_deep

MAX_MODEL_LENGTH = 200
MAX_QUOTED_NAME = 100  # characters of a field's value that an error quotes


def requested_model(body: Mapping[str, Any]) -> str:
    """Return the requested model's id."""
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > MAX_MODEL_LENGTH:
        raise InvalidRequest("'model' must be a model id; see GET /v1/models.", "model")
    return model


def parse_json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Rejects deep nesting and client library options."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.startswith(codecs.BOM_UTF8):  # parsers may ignore it (RFC 8259, section 8.1)
            return parse_json_object(data[len(codecs.BOM_UTF8) :])
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
            raise InvalidRequest("The body appears to be UTF-16 or UTF-32. Send JSON as UTF-8.") from None
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if is_too_deep(data, body):
        raise InvalidRequest("The body is nested too deeply.")
    drop_client_options(body)
    return body


def object_field(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object in the field `name`, or an empty one if it is missing or null. Raises `InvalidRequest`."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{name}' must be an object.", name)
    return value


def read_include_cost(body: Mapping[str, Any]) -> bool:
    """Return whether `usage: {"include": true}`, as in OpenRouter's API, requests the cost in USD. Raises `InvalidRequest`."""
    include = object_field(body, "usage").get("include")
    if include is not None and not isinstance(include, bool):
        raise InvalidRequest("'usage.include' must be true or false.", "usage.include")
    return bool(include)


def reject_unknown_fields(where: str, found: Mapping[str, Any], known: Collection[str]) -> None:
    """Reject fields that are not `known`. `where` is the path to the object, with a trailing dot."""
    unknown = next((name for name in found if name not in known), None)
    if unknown is not None:
        param = f"{where}{unknown[:MAX_QUOTED_NAME]}"
        raise InvalidRequest(f"'{param}' is not supported here; the fields are {', '.join(known)}.", param)
