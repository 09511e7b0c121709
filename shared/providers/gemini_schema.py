"""JSON Schema in the part of it that Gemini documents for `parametersJsonSchema` and `responseJsonSchema`.

What is another word for something in that part is rewritten; what only narrows a value (`pattern`, `minLength`, …) goes into the
description, where the model reads it. Nothing else of a schema is lost.
"""

from __future__ import annotations

from typing import Any

import orjson

KNOWN = frozenset(
    {
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required"),
        "propertyOrdering",
    }
)
_SILENT = frozenset({"$schema", "$comment", "definitions", "const", "allOf", "nullable"})
_MAPS = ("properties", "$defs")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def converted(schema: Any) -> Any:
    """`schema` for Gemini; the schema that came is not changed."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {name: value for name, value in schema.items() if name in KNOWN}
    _rewrite(schema, made)
    for name in _MAPS:
        if isinstance(made.get(name), dict):
            made[name] = {key: converted(value) for key, value in made[name].items()}
    for name in _LISTS:
        if isinstance(made.get(name), list):
            made[name] = [converted(value) for value in made[name]]
    for name in _SINGLE:
        if name in made:
            made[name] = converted(made[name])
    told = [
        f"{name}: {orjson.dumps(value).decode()}" for name, value in schema.items() if name not in KNOWN and name not in _SILENT
    ]
    if told:
        made["description"] = " ".join(filter(None, [made.get("description"), f"({', '.join(told)})"]))
    return made


def _rewrite(schema: dict[str, Any], made: dict[str, Any]) -> None:
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if isinstance(schema.get("definitions"), dict):
        made["$defs"] = {**schema["definitions"], **made.get("$defs", {})}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/definitions/", "#/$defs/")
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    several = schema.get("allOf")
    if isinstance(several, list):
        for one in several:
            for name, value in one.items() if isinstance(one, dict) else ():
                _merge(made, name, value)


def _merge(made: dict[str, Any], name: str, value: Any) -> None:
    """One keyword of a member of `allOf`: objects and lists are joined, the rest is taken over where it is new."""
    if name in ("properties", "$defs") and isinstance(value, dict):
        made[name] = {**made.get(name, {}), **value}
    elif name == "required" and isinstance(value, list):
        made[name] = [*made.get(name, []), *(item for item in value if item not in made.get(name, []))]
    elif name in KNOWN:
        made.setdefault(name, value)
