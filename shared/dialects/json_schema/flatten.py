"""Flattens one level of a JSON Schema: resolves `$ref` next to other keywords, `allOf`, `oneOf` and older syntax. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.dialects.json_schema.merge import (
    ANNOTATIONS,
    NOTES,
    Json,
    UnsatisfiableSchema,
    WorkBudget,
    canonical_json,
    join_path,
    json_equal,
    merge,
    raise_unconvertible,
    resolve,
)

# Keywords about the document, not about values.
_ABOUT_THE_DOCUMENT = frozenset({"$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "$vocabulary", NOTES})
_COMBINED = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf"})
_ANYTHING: tuple[Any, ...] = (True, {})
MAX_FOLLOWED = 4  # maximum times a reference is followed inside itself if other keywords must be merged
_STEP_BYTES = 250  # work counted per step in addition to the JSON
RefPath = tuple[str, ...]
"""The references followed on the way to a schema."""


class Flattener:
    """Flattens the schemas of one document. Raises `Unconvertible`."""

    def __init__(self, root: Mapping[str, Any], work: WorkBudget) -> None:
        self.root = root
        self._work = work
        self._sizes: dict[str, int] = {}  # size of referenced schemas in bytes of JSON

    def flatten(
        self, schema: Any, where: str, following: RefPath, *, inline: bool = False, alone: bool = True
    ) -> tuple[Json, RefPath]:
        """Return a schema without `allOf`, `oneOf`, `const`, `nullable` or keywords next to `$ref`, and the references followed.

        `inline` also follows a lone `$ref`. A recursive reference is kept, inside `anyOf`. If other keywords must be merged with
        it, the caller passes `alone=False`.
        """
        if schema is True:
            return {}, following
        if schema is False:
            raise UnsatisfiableSchema(where, "'false' matches no value")
        if not isinstance(schema, dict):
            raise_unconvertible(where, "it must be a schema")
        own = {name: value for name, value in schema.items() if name not in _ABOUT_THE_DOCUMENT}
        if _COMBINED.isdisjoint(own):
            _modernize(own, where)
            return own, following
        if "$dynamicRef" in own or "$recursiveRef" in own:
            raise_unconvertible(where, "only '$ref' is supported for references")
        members = _list(own.pop("allOf", None), join_path(where, "allOf"), empty=True)
        ref = own.pop("$ref", None)
        if ref is not None:
            if not own and not members and not inline:
                return {"$ref": ref}, following
            alone = alone and not members and not own.keys() - ANNOTATIONS
            if alone and ref in following:
                return {"anyOf": [{"$ref": ref}], **own}, following
            if following.count(ref) >= MAX_FOLLOWED:
                raise_unconvertible(where, "a recursive reference must not have other keywords next to it")
            members.insert(0, self._resolve(ref, where))
            following = (*following, ref)
        _modernize(own, where)
        if len(own.get("anyOf", ())) == 1:
            members.append(own.pop("anyOf")[0])
        alone = alone and len(members) == 1 and not own.keys() - ANNOTATIONS
        followed = following
        for member in members:
            found, all_followed = self.flatten(member, where, following, inline=True, alone=alone)
            own = merge(own, found, where)
            followed += all_followed[len(following) :]
        return own, followed

    def merge_to_object(self, schema: Any, where: str, following: RefPath) -> tuple[Json, RefPath]:
        """Merge a schema into one object without alternatives: all of their properties, and the keywords that all share.

        Assumes that an alternative allows only the keys that it names, unless it has a schema for others.
        """
        flat, following = self.flatten(schema, where, following, inline=True)
        if "anyOf" not in flat:
            return _as_object(flat, where), following
        base = {name: value for name, value in flat.items() if name not in ("anyOf", NOTES)}
        size = len(canonical_json(base))
        objects = []
        all_followed = following
        for position, variant in enumerate(flat["anyOf"]):
            self._work.spend(size + _STEP_BYTES, where)
            both = {"allOf": [{name: base[name] for name in base.keys() - ANNOTATIONS}, variant]}
            with suppress(UnsatisfiableSchema):
                found, followed = self.merge_to_object(both, join_path(where, "anyOf", position), following)
                objects.append(found)
                all_followed += followed[len(following) :]
        if not objects:
            raise UnsatisfiableSchema(where, "no alternative can match")
        about = {name: value for name, value in base.items() if name in ANNOTATIONS}
        united = {**_united(objects), **about}
        if notes := [*flat.get(NOTES, ()), *united.get(NOTES, ())]:
            united[NOTES] = notes
        return united, all_followed

    def _resolve(self, ref: Any, where: str) -> Any:
        found = resolve(self.root, ref, where)
        if ref not in self._sizes:
            self._sizes[ref] = len(canonical_json(found))
        self._work.spend(self._sizes[ref] + _STEP_BYTES, where)
        return found


def _as_object(flat: Json, where: str) -> Json:
    types = flat.get("type", "object")
    if types != "object" and not (isinstance(types, list) and "object" in types):
        raise_unconvertible(where, "it must describe an object")
    return {**flat, "type": "object"}


def _united(objects: list[Json]) -> Json:
    properties: dict[str, dict[str, Any]] = {}  # by serialized text, without duplicates
    names = {name: None for each in objects for name in each.get("properties") or {}}  # in order
    for each in objects:
        named, unnamed = each.get("properties") or {}, each.get("additionalProperties")
        for name in names:
            value = named.get(name, unnamed if isinstance(unnamed, dict) else None)
            if value is not None:
                properties.setdefault(name, {}).setdefault(canonical_json(value), value)
    required = [list(each.get("required") or ()) for each in objects]
    made: Json = {
        **_shared_keywords(objects),
        "type": "object",
        "properties": {name: _any_of([*properties[name].values()]) for name in names},
    }
    if always := [name for name in required[0] if all(name in names for names in required)]:
        made["required"] = always
    if any(names != required[0] for names in required):
        made[NOTES] = [f"anyOf: {canonical_json([{'required': names} for names in required])}"]
    return made


def _shared_keywords(objects: list[Json]) -> Json:
    """Return the keywords, except properties and annotations, that all of the `objects` share."""
    first = objects[0]
    apart = {"type", "properties", "required", "additionalProperties", NOTES, *ANNOTATIONS}
    made = {
        name: value
        for name, value in first.items()
        if name not in apart and all(name in each and json_equal(each[name], value) for each in objects)
    }
    for name, choose in (("minProperties", min), ("maxProperties", max)):
        bounds = [each[name] for each in objects if type(each.get(name)) is int]
        if len(bounds) == len(objects):
            made[name] = choose(bounds)
    others = [each.get("additionalProperties", True) for each in objects]
    patterns = {canonical_json(each.get("patternProperties", {})) for each in objects}
    if not any(other in _ANYTHING for other in others) and len(patterns) == 1:
        found = {canonical_json(other): other for other in others if other is not False}
        made["additionalProperties"] = _any_of([*found.values()]) if found else False
    return made


def _any_of(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else {"anyOf": found}


def _modernize(own: Json, where: str) -> None:
    """Replace older and alternative syntax: `const`, `nullable`, `oneOf`, lists of `items`, types in capitals."""
    if not isinstance(own.get("properties", {}), dict):
        raise_unconvertible(join_path(where, "properties"), "it must be an object")
    if "required" in own:
        _check_required(own, where)
    if "type" in own:
        own["type"] = _types(own["type"], where)
    if not _OTHER_SPELLINGS.isdisjoint(own):
        _respell(own, where)


def _check_required(own: Json, where: str) -> None:
    if isinstance(own["required"], bool):  # a property's own flag, as before draft 4
        del own["required"]
    elif not isinstance(own["required"], list) or not all(isinstance(name, str) for name in own["required"]):
        raise_unconvertible(join_path(where, "required"), "it must be a list of names")


_OTHER_SPELLINGS = frozenset({"const", "enum", "items", "anyOf", "oneOf", "nullable"})


def _respell(own: Json, where: str) -> None:
    if "const" in own:
        const = [own.pop("const")]
        own["enum"] = const if "enum" not in own else merge({"enum": own["enum"]}, {"enum": const}, where)["enum"]
    if "enum" in own:
        _list(own["enum"], join_path(where, "enum"))
    if isinstance(own.get("items"), list):
        own["prefixItems"] = own.pop("items")
        if "additionalItems" in own:
            own["items"] = own.pop("additionalItems")
    alternatives = [_list(own.pop(name), join_path(where, name)) for name in ("anyOf", "oneOf") if name in own]
    for found in alternatives:
        if not any(each in _ANYTHING for each in found):
            own.update(merge({"anyOf": own["anyOf"]} if "anyOf" in own else {}, {"anyOf": found}, where))
    if own.pop("nullable", None) is True:
        _allow_null(own)


def _allow_null(own: Json) -> None:
    if "anyOf" in own:
        own["anyOf"] = [*own["anyOf"], {"type": "null"}]
    if "enum" in own and None not in own["enum"]:
        own["enum"] = [*own["enum"], None]
    if "type" in own:
        types = own["type"] if isinstance(own["type"], list) else [own["type"]]
        own["type"] = types if "null" in types else [*types, "null"]


TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})


def _types(value: Any, where: str) -> Any:
    if isinstance(value, str) and value in TYPES:
        return value
    names = value if isinstance(value, list) else [value]
    found = [name.lower() if isinstance(name, str) else name for name in names]
    if not found or any(not isinstance(name, str) or name not in TYPES for name in found):
        raise_unconvertible(join_path(where, "type"), f"it must be one of {', '.join(sorted(TYPES))}, or a list of them")
    return found if isinstance(value, list) else found[0]


def _list(value: Any, where: str, *, empty: bool = False) -> list[Any]:
    if value is None and empty:
        return []
    if not isinstance(value, list) or not (value or empty):
        raise_unconvertible(where, "it must be a non-empty list")
    return [*value]
