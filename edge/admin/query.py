"""Query parameters of the administration API, parsed as their route declares them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from edge.http.api_spec import Schema
from shared.core.errors import InvalidRequest


def read_query(declared: Mapping[str, Schema], sent: Mapping[str, str]) -> dict[str, Any]:
    """Return the declared parameters that were sent, with the types of their schemas: int, UUID or str.

    Raises `InvalidRequest` for an unknown parameter, since a list with a mistyped filter would show everything, and for an
    invalid value.
    """
    unknown = next((name for name in sent if name not in declared), None)
    if unknown is not None:
        known = f"The parameters are {', '.join(declared)}." if declared else "It has no parameters."
        raise InvalidRequest(f"This request has no parameter '{unknown[:100]}'. {known}", unknown[:100])
    return {name: _parsed(name, schema, sent[name]) for name, schema in declared.items() if name in sent}


def _parsed(name: str, schema: Schema, text: str) -> Any:
    if "enum" in schema:
        if text not in schema["enum"]:
            raise InvalidRequest(f"'{name}' must be one of {', '.join(schema['enum'])}.", name)
        return text
    if schema.get("type") == "integer":
        low, high = schema["minimum"], schema["maximum"]
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
            raise InvalidRequest(f"'{name}' must be an integer between {low} and {high}.", name)
        return int(text)
    if schema.get("format") == "uuid":
        try:
            return UUID(text)
        except ValueError:
            raise InvalidRequest(f"'{name}' must be an id.", name) from None
    return text
