"""Definitions of a converted schema: which are needed, and which are recursive. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.dialects.json_schema.merge import Json, join_path, raise_unconvertible

_PREFIX = "#/$defs/"


def referenced_definitions(defs: dict[str, Json], schema: Json) -> dict[str, Json]:
    """Return the definitions that `schema` refers to, directly or indirectly. Others may be unused after the conversion."""
    reached = _reached({**defs, "": schema})[""]
    return {name: made for name, made in defs.items() if name in reached}


def make_recursion_optional(defs: dict[str, Json]) -> None:
    """Remove properties that lead a definition back to itself from `required`.

    Raises `Unconvertible` if a recursion does not go through a property.
    """
    reached = _reached(defs)
    for name, schema in defs.items():
        around = frozenset(other for other in reached[name] if name in reached[other])
        if around:
            _visit(schema, join_path("$defs", name), around)


def _reached(defs: dict[str, Json]) -> dict[str, set[str]]:
    """Return all definitions that each definition refers to, directly or indirectly."""
    direct = {name: set(_references(schema)) for name, schema in defs.items()}
    reached: dict[str, set[str]] = {}
    for name in defs:
        found: set[str] = set()
        pending = [name]
        while pending:
            new = direct[pending.pop()] - found
            found |= new
            pending += new
        reached[name] = found
    return reached


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix(_PREFIX)
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _visit(schema: Any, where: str, around: frozenset[str]) -> None:
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("$ref"), str) and schema["$ref"].removeprefix(_PREFIX) in around:
        raise_unconvertible(where, "a recursive schema is only supported through a property")
    for name in ("items", "additionalProperties"):
        _visit(schema.get(name), join_path(where, name), around)
    for name in ("anyOf", "prefixItems"):
        for position, each in enumerate(schema.get(name) or ()):
            _visit(each, join_path(where, name, position), around)
    back = [name for name, each in (schema.get("properties") or {}).items() if around.intersection(_references(each))]
    for name, each in (schema.get("properties") or {}).items():
        if name not in back:
            _visit(each, join_path(where, "properties", name), around)
    dropped = [name for name in schema.get("required", ()) if name in back]
    if dropped:
        schema["required"] = [name for name in schema["required"] if name not in dropped]
        if not schema["required"]:
            del schema["required"]
        note = f"(required: {', '.join(dropped)})"
        schema["description"] = f"{schema['description']} {note}" if schema.get("description") else note
