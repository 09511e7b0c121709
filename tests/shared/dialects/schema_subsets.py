"""The subset of JSON Schema that each provider documents, written independently of the converter's own profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
# "Only the following properties are supported": Gemini API reference, GenerationConfig.responseJsonSchema.
GEMINI = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems", "minItems"),
    *("maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required", "propertyOrdering"),
}
# "JSON Schema limitations" in Anthropic's documentation of structured outputs.
ANTHROPIC = {
    *("$defs", "$ref", "type", "format", "title", "description", "default", "enum", "const", "anyOf", "items", "minItems"),
    *("properties", "required", "additionalProperties"),
}
ANTHROPIC_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
# "Supported schemas" in OpenAI's documentation of structured outputs.
OPENAI = {
    *("$defs", "$ref", "type", "format", "title", "description", "enum", "const", "anyOf", "items", "minItems", "maxItems"),
    *("properties", "required", "additionalProperties", "pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum"),
    "exclusiveMaximum",
}
OPENAI_FORMATS = ANTHROPIC_FORMATS - {"uri"}


def gemini(schema: Any) -> None:
    for each in schemas_of(schema):
        assert set(each) <= GEMINI, each
        if "$ref" in each:
            assert all(name.startswith("$") for name in each), each
        assert all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in each.get("enum", ())), each
        assert each.get("format") in (None, "date-time", "date", "time")
    cyclic = {name for name in schema.get("$defs", {}) if name in reached(schema, name)}
    for name in cyclic:
        assert not cyclic & set(required_references(schema["$defs"][name])), "cycles are allowed only in optional properties"


def anthropic(schema: Any) -> None:
    for each in schemas_of(schema):
        _closed(each, ANTHROPIC, ANTHROPIC_FORMATS)
        assert each.get("minItems") in (None, 0, 1)
    assert not any(name in reached(schema, name) for name in schema.get("$defs", {})), "no recursion"


def openai(schema: Any) -> None:
    assert schema.get("type") == "object"
    assert "anyOf" not in schema
    for each in schemas_of(schema):
        _closed(each, OPENAI, OPENAI_FORMATS)
        assert set(each.get("required", ())) == set(each.get("properties", ()))
        assert "items" in each or "array" not in types_of(each), each


CHECKS: dict[str, Callable[[Any], None]] = {"gemini": gemini, "anthropic": anthropic, "openai": openai}


def _closed(schema: Any, known: set[str], formats: set[str]) -> None:
    assert set(schema) <= known, schema
    if "$ref" in schema:
        assert schema.keys() <= {"$ref", "$defs"}, schema
        return
    assert schema.keys() & {"type", "anyOf", "enum", "const"}, schema
    assert types_of(schema) <= TYPES
    if "object" in types_of(schema):
        assert schema["additionalProperties"] is False
        assert set(schema.get("required", ())) <= set(schema["properties"])
    assert schema.get("format") in {None, *formats}
    assert all(not isinstance(value, dict | list) for value in schema.get("enum", ()))


def types_of(schema: Any) -> set[str]:
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def below(schema: Any) -> Iterator[Any]:
    """Direct subschemas, except definitions."""
    yield from schema.get("properties", {}).values()
    for name in ("anyOf", "oneOf", "prefixItems"):
        yield from schema.get(name, ())
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield schema[name]


def schemas_of(schema: Any) -> Iterator[Any]:
    """Every schema in a document."""
    assert isinstance(schema, dict), schema
    yield schema
    for each in (*schema.get("$defs", {}).values(), *below(schema)):
        yield from schemas_of(each)


def references(schema: Any) -> set[str]:
    return {each["$ref"].removeprefix("#/$defs/") for each in schemas_of(schema) if "$ref" in each}


def reached(document: Any, name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = references(document["$defs"][waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def required_references(schema: Any) -> Iterator[str]:
    """References of a schema outside its optional properties."""
    if "$ref" in schema:
        yield schema["$ref"].removeprefix("#/$defs/")
    for name, each in schema.get("properties", {}).items():
        if name in schema.get("required", ()):
            yield from required_references(each)
    for each in below({**schema, "properties": {}}):
        yield from required_references(each)
