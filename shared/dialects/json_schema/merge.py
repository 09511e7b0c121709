"""Merges JSON Schemas: follows references, and combines two schemas into one that accepts what both accept. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import unquote

import orjson

Json = dict[str, Any]

NOTES = ""
"""Key of a merged schema's texts for its description; no keyword has this name."""
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
MAX_ALTERNATIVES = 64  # maximum combinations of two `anyOf`
MAX_MERGED_BYTES = 4_000_000
_NUMBER_IS = frozenset({"number", "integer"})


class Unconvertible(Exception):
    """A schema that the provider's subset cannot express. `where` is the path inside the schema, empty for its root."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.where = where
        self.why = reason


class UnsatisfiableSchema(Unconvertible):
    """A schema that matches no value. An alternative or optional property with such a schema is left out."""


class WorkBudget:
    """Counts the JSON merged for one schema or all tools of a call, because references multiply the size of schemas."""

    def __init__(self) -> None:
        self._merged = 0

    def spend(self, size: int, where: str) -> None:
        """Count `size` more bytes of merged JSON. Raises `Unconvertible` above the limit."""
        self._merged += size
        if self._merged > MAX_MERGED_BYTES:
            raise_unconvertible(where, "it is too large after following its references")


def raise_unconvertible(where: str, reason: str) -> NoReturn:
    """Raise `Unconvertible`."""
    raise Unconvertible(where, reason)


def join_path(where: str, *names: object) -> str:
    """Append `names` to the path `where`."""
    return ".".join(filter(None, [where, *(str(name)[:100] for name in names)]))


def resolve(root: Mapping[str, Any], ref: object, where: str) -> Any:
    """Return the schema that a `$ref` in the document `root` points to. Raises `Unconvertible` if there is none."""
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise_unconvertible(where, "'$ref' must point into this schema ('#/$defs/…')")
    if len(ref) > 1 and not ref.startswith("#/"):
        return _anchored(root, ref[1:], where)
    found: Any = root
    for token in ref[2:].split("/") if len(ref) > 1 else ():
        name = unquote(token).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise_unconvertible(where, f"'$ref' points to nothing: {ref[:200]}")
    return found


def _anchored(root: Mapping[str, Any], anchor: str, where: str) -> Any:
    for name in ("$defs", "definitions"):
        known = root.get(name)
        for schema in known.values() if isinstance(known, dict) else ():
            if isinstance(schema, dict) and schema.get("$anchor") == anchor:
                return schema
    raise_unconvertible(where, f"'$ref' points to nothing: #{anchor[:200]}")


def json_equal(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal. `true` is not equal to 1."""
    return canonical_json(one) == canonical_json(other)


def canonical_json(value: Any) -> str:
    """Return a value as JSON text with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def merge(one: Json, other: Json, where: str) -> Json:
    """Return a schema that accepts what both accept, with the annotations of `one`.

    Both must be without `$ref`, `allOf`, `oneOf` and `const`. Raises `Unconvertible` if no value can match both.
    """
    made = {**one}
    for name, value in other.items():
        if name in ("properties", "additionalProperties"):
            continue
        if name not in made:
            made[name] = value
        elif not json_equal(made[name], value) and name not in ANNOTATIONS:
            rule = _RULES.get(name)
            if rule is None:
                made[NOTES] = [*made.get(NOTES, ()), f"{name}: {canonical_json(value)}"]
            else:
                made[name] = rule(made[name], value, where)
    _merge_properties(made, one, other)
    return made


def _merge_properties(made: Json, one: Json, other: Json) -> None:
    """Merge properties. A key in only one of the schemas must also match what the other requires of unnamed keys."""
    mine, theirs = one.get("properties") or {}, other.get("properties") or {}
    if "properties" in one or "properties" in other:
        made["properties"] = {
            key: _both(mine[key] if key in mine else _unnamed(one), theirs[key] if key in theirs else _unnamed(other))
            for key in {**mine, **theirs}
        }
    if "additionalProperties" in other:
        mine_unnamed, theirs_unnamed = one.get("additionalProperties", True), other["additionalProperties"]
        closed = mine_unnamed is False or theirs_unnamed is False
        made["additionalProperties"] = False if closed else _both(mine_unnamed, theirs_unnamed)


def _unnamed(schema: Json) -> Any:
    """Return a schema's constraint on unnamed keys. If it forbids them, they are allowed here: if one of several members has
    `additionalProperties: false`, it is usually meant to allow the names of all of them."""
    return schema.get("additionalProperties") or True


def _both(one: Any, other: Any) -> Any:
    if one is True or one == {} or json_equal(one, other):
        return other
    return one if other is True or other == {} else {"allOf": [one, other]}


def _types(one: Any, other: Any, where: str) -> list[str]:
    mine = one if isinstance(one, list) else [one]
    theirs = other if isinstance(other, list) else [other]
    common = [name for name in mine if name in theirs or (name == "integer" and "number" in theirs)]
    if "number" in mine and "number" not in theirs and "integer" in theirs:
        common.append("integer")
    if not common:
        raise UnsatisfiableSchema(where, "no value has both types")
    return common


def _enums(one: Any, other: Any, where: str) -> list[Any]:
    common = [value for value in one if any(json_equal(value, each) for each in other)]
    if not common:
        raise UnsatisfiableSchema(where, "no value is in both lists")
    return common


def _alternatives(one: Any, other: Any, where: str) -> list[Any]:
    if len(one) * len(other) > MAX_ALTERNATIVES:
        raise_unconvertible(where, f"more than {MAX_ALTERNATIVES} combinations of alternatives")
    return [_both(mine, theirs) for mine in one for theirs in other]


def _bound(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any, str], Any]:
    return lambda one, other, _: choose(one, other) if _are_numbers(one, other) else one


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


_RULES: dict[str, Callable[[Any, Any, str], Any]] = {
    NOTES: lambda one, other, _: [*one, *other],
    "required": lambda one, other, _: [*one, *(name for name in other if name not in one)],
    "type": _types,
    "enum": _enums,
    "anyOf": _alternatives,
    "items": lambda one, other, _: _both(one, other),
    "uniqueItems": lambda one, other, _: bool(one or other),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _bound(max)),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _bound(min)),
}
