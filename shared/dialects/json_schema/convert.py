"""Converts a JSON Schema to a provider's subset. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.dialects.json_schema import definitions
from shared.dialects.json_schema.flatten import Flattener, RefPath
from shared.dialects.json_schema.merge import (
    ANNOTATIONS,
    NOTES,
    Json,
    UnsatisfiableSchema,
    WorkBudget,
    canonical_json,
    join_path,
    raise_unconvertible,
    resolve,
)
from shared.dialects.json_schema.profiles import Profile

MAX_SCHEMAS = 5_000  # maximum number of subschemas after following references
MAX_DEPTH = 60
# Keywords that a closed object cannot express: they restrict unnamed keys, or refer to keys.
_ABOUT_KEYS = ("patternProperties", "then", "else", "dependentSchemas", "dependencies", "unevaluatedProperties")
_CONVERTED = frozenset({"type", "enum", "properties", "required", "additionalProperties", "items", "prefixItems", NOTES})
_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})
_PLAIN = frozenset({"type", "description", "title"})
_NOT_AT_ROOT = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_ROOT: RefPath = ("#",)


def convert(schema: Mapping[str, Any], profile: Profile, *, object_root: bool = False, work: WorkBudget | None = None) -> Json:
    """Return `schema` in the subset of `profile`; the original is not modified. Raises `Unconvertible`.

    `object_root` makes the root an object without alternatives, as tools require. `work` is shared by all schemas of a call.
    """
    try:
        return _Converter(schema, profile, work or WorkBudget()).root(object_root)
    except RecursionError:  # references that form a chain
        raise_unconvertible("", "it is nested too deeply")


def object_at_root(schema: Mapping[str, Any], work: WorkBudget | None = None) -> Mapping[str, Any]:
    """Return `schema` with a plain object at its root and everything below unchanged. Raises `Unconvertible`."""
    if schema.get("type") == "object" and _NOT_AT_ROOT.isdisjoint(schema):
        return schema
    try:
        flat, _ = Flattener(schema, work or WorkBudget()).merge_to_object(schema, "", _ROOT)
    except RecursionError:
        raise_unconvertible("", "it is nested too deeply")
    notes = flat.pop(NOTES, [])
    carried = {name: schema[name] for name in ("$schema", "$defs", "definitions") if name in schema}
    return {**carried, **_described(flat, notes)}


def _described(made: Json, notes: list[str]) -> Json:
    if not notes:
        return made
    own = made.get("description")
    return {**made, "description": " ".join(filter(None, [own if isinstance(own, str) else None, f"({', '.join(notes)})"]))}


class _Converter:
    """One conversion, with its definitions so far and the number of subschemas."""

    def __init__(self, schema: Mapping[str, Any], profile: Profile, work: WorkBudget) -> None:
        self._work = work
        self._root = schema
        self._profile = profile
        self._flattener = Flattener(schema, work)
        self._names: dict[str, str] = {}  # names of definitions, by reference
        self._defs: dict[str, Json] = {}
        self._unfinished: set[str] = set()
        self._count = 0

    def root(self, object_root: bool) -> Json:
        """Convert the whole schema, with the definitions that it still refers to."""
        if object_root:
            flat, following = self._flattener.merge_to_object(self._root, "", _ROOT)
        else:
            flat, following = self._flattener.flatten(self._root, "", _ROOT, inline=True)
        made = self._level(flat, "", following, 0)
        if self._profile.all_required and made.get("type") != "object":
            raise_unconvertible("", "the root must be an object")
        defs = definitions.referenced_definitions(self._defs, made) if self._defs else {}
        if defs and self._profile.recursion == "optional":
            definitions.make_recursion_optional(defs)
        return {"$defs": defs, **made} if defs else made

    def _schema(self, schema: Any, where: str, following: RefPath, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise_unconvertible(where, "it is nested too deeply")
        if isinstance(schema, dict) and _PLAIN.issuperset(schema) and _is_plain(schema):
            return {**schema}  # the most common case
        flat, following = self._flattener.flatten(schema, where, following)
        return self._level(flat, where, following, depth)

    def _level(self, flat: Json, where: str, following: RefPath, depth: int) -> Json:
        """Convert a flattened schema and everything below it."""
        self._count += 1
        if self._count > MAX_SCHEMAS:
            raise_unconvertible(where, "it is too large after following its references")
        if "$ref" in flat:
            return {"$ref": f"#/$defs/{self._definition(flat['$ref'], where)}"}
        if "anyOf" in flat:
            return self._alternatives(flat, where, following, depth)
        if "enum" in flat:
            made, notes = self._values(flat, where)
        else:
            made, notes = self._plain(flat, where, following, depth)
        return self._finished(made, flat, notes, where)

    def _definition(self, ref: Any, where: str) -> str:
        if ref not in self._names:
            target = resolve(self._root, ref, where)
            seen = {ref}
            while isinstance(target, dict) and target.keys() == {"$ref"}:
                if target["$ref"] in seen:
                    raise_unconvertible(where, "it only refers to itself")
                seen.add(target["$ref"])
                target = resolve(self._root, target["$ref"], where)
            name = str(ref).rsplit("/", 1)[-1].replace("~", "_").replace("%", "_") if ref != "#" else "root"
            while name in self._defs:
                name += "_"
            self._names[ref] = name
            self._defs[name] = {}
            self._unfinished.add(ref)
            try:
                self._defs[name] = self._schema(target, join_path("$defs", name), (ref,), 1)
            except UnsatisfiableSchema:
                del self._names[ref], self._defs[name]
                raise
            finally:
                self._unfinished.discard(ref)
        elif ref in self._unfinished and self._profile.recursion == "no":
            raise_unconvertible(where, "recursive schemas are not supported")
        return self._names[ref]

    def _alternatives(self, flat: Json, where: str, following: RefPath, depth: int) -> Json:
        """Convert `anyOf`, with the keywords next to it merged into each member."""
        base = {name: value for name, value in flat.items() if name not in ANNOTATIONS and name not in ("anyOf", NOTES)}
        made: dict[str, Json] = {}  # by serialized text, without duplicates
        size = len(canonical_json(base))
        for position, variant in enumerate(flat["anyOf"]):
            self._work.spend(size, where)
            both = {"allOf": [base, variant]} if base else variant
            with suppress(UnsatisfiableSchema):
                found = self._schema(both, join_path(where, "anyOf", position), following, depth + 1)
                made.setdefault(canonical_json(found), found)
        if not made:
            raise UnsatisfiableSchema(where, "no alternative can match")
        about = {name: value for name, value in flat.items() if name in ANNOTATIONS or name == NOTES}
        return self._finished({"anyOf": [*made.values()]}, about, [], where)

    def _values(self, flat: Json, where: str) -> tuple[Json, list[str]]:
        """Convert an `enum`: keep the values that the profile allows, and replace others by their type."""
        types = _listed(flat.get("type"))
        values = [value for value in flat["enum"] if not types or _is_of(value, types)]
        if not values:
            raise UnsatisfiableSchema(where, "no value of 'enum' has this type")
        literal = [value for value in values if _type_of(value) in self._profile.literals]
        others = [value for value in values if _type_of(value) not in self._profile.literals]
        if self._profile.typed and others:
            raise_unconvertible(join_path(where, "enum"), "only strings, numbers, booleans and null are supported")
        made: list[Json] = []
        if literal:
            names = list(dict.fromkeys(_type_of(value) for value in literal))
            made.append({"type": names[0] if len(names) == 1 else names, "enum": literal})
        made += [{"type": name} for name in dict.fromkeys(_type_of(value) for value in others)]
        notes = [f"enum: {canonical_json(values)}"] if any(value is not None for value in others) else []
        return made[0] if len(made) == 1 else {"anyOf": made}, notes

    def _plain(self, flat: Json, where: str, following: RefPath, depth: int) -> tuple[Json, list[str]]:
        profile = self._profile
        types = _listed(flat.get("type"))
        has_keys = any(name in flat for name in ("properties", "required", "additionalProperties", *_ABOUT_KEYS))
        has_items = "items" in flat or "prefixItems" in flat
        if not types and profile.typed:
            types = ["object"] if has_keys else ["array"] if has_items else raise_unconvertible(where, "it must have a type")
        made: Json = {"type": types[0] if len(types) == 1 else types} if types else {}
        notes: list[str] = []
        if "object" in types or (not types and has_keys):
            self._object(made, notes, flat, where, following, depth)
        if "array" in types or (not types and has_items):
            self._array(made, notes, flat, where, following, depth)
        return made, notes

    def _object(self, made: Json, notes: list[str], flat: Json, where: str, following: RefPath, depth: int) -> None:
        properties = flat.get("properties")
        unnamed = flat.get("additionalProperties")
        if self._profile.closed:
            self._close(flat, where)
        if properties is not None or self._profile.closed:
            made["properties"] = {}
        for name, value in (properties or {}).items():
            try:
                made["properties"][name] = self._schema(value, join_path(where, "properties", name), following, depth + 1)
            except UnsatisfiableSchema:
                if name in _listed(flat.get("required")):
                    raise
        required = [name for name in _listed(flat.get("required")) if name in made.get("properties", ())]
        if missing := [name for name in _listed(flat.get("required")) if name not in required]:
            if self._profile.closed:
                raise_unconvertible(join_path(where, "required"), f"'{str(missing[0])[:100]}' is not a property")
            notes.append(f"required: {canonical_json(missing)}")
        if self._profile.all_required and len(required) < len(made["properties"]):
            optional = next(name for name in made["properties"] if name not in required)
            raise_unconvertible(join_path(where, "properties", optional), "every property must be required")
        if required:
            made["required"] = required
        if self._profile.closed:
            made["additionalProperties"] = False
        elif flat.get("patternProperties") and unnamed not in (None, True):
            # Without `patternProperties`, which no provider supports, this would also apply to the keys that match a pattern.
            notes.append(f"additionalProperties: {canonical_json(unnamed)}")
        elif isinstance(unnamed, dict):
            made["additionalProperties"] = self._schema(unnamed, join_path(where, "additionalProperties"), following, depth + 1)
        elif unnamed is not None:
            made["additionalProperties"] = unnamed

    def _close(self, flat: Json, where: str) -> None:
        """Raise `Unconvertible` for an object with unnamed keys, which a closed object would forbid."""
        for name in _ABOUT_KEYS:
            if flat.get(name) not in (None, False):
                raise_unconvertible(join_path(where, name), "only keys in 'properties' are supported")
        unnamed = flat.get("additionalProperties")
        if isinstance(unnamed, dict) and unnamed:
            raise_unconvertible(join_path(where, "additionalProperties"), "only keys in 'properties' are supported")
        is_root = not where
        if "properties" not in flat and unnamed is not False and not is_root:
            raise_unconvertible(where, "an object must have 'properties'")

    def _array(self, made: Json, notes: list[str], flat: Json, where: str, following: RefPath, depth: int) -> None:
        first, rest = flat.get("prefixItems"), flat.get("items")
        prefix = [] if not isinstance(first, list) else first
        if prefix and not self._profile.tuples:
            notes.append(f"prefixItems: {canonical_json(prefix)}")
            limit = flat.get("maxItems")
            ends = rest is False or (type(limit) is int and limit <= len(prefix))
            prefix, rest = [], None if rest in (None, True, {}) and not ends else {"anyOf": [*prefix, *([] if ends else [rest])]}
        if prefix:
            made["prefixItems"] = [
                self._schema(each, join_path(where, "prefixItems", position), following, depth + 1)
                for position, each in enumerate(prefix)
            ]
        if isinstance(rest, dict) and rest:
            made["items"] = self._schema(rest, join_path(where, "items"), following, depth + 1)
        elif self._profile.all_required:
            raise_unconvertible(join_path(where, "items"), "an array must have 'items'")
        elif rest is False:
            notes.append("items: false")

    def _finished(self, made: Json, flat: Json, notes: list[str], where: str) -> Json:
        """Return `made` with the keywords of `flat` that the provider supports; others are added to the description."""
        profile = self._profile
        notes = [*flat.get(NOTES, ()), *notes]
        for name, value in flat.items():
            if name in _CONVERTED:
                continue
            is_known = name in profile.keywords or (name == "format" and isinstance(value, str) and value in profile.formats)
            if is_known and _is_usable(name, value):
                made[name] = value
                if name == "minItems" and profile.min_items is not None and value > profile.min_items:
                    made[name] = profile.min_items
                    notes.append(f"minItems: {value}")
            elif name not in ("title", "description"):
                notes.append(f"{name}: {canonical_json(value)}")
        if notes:
            self._work.spend(sum(map(len, notes)), where)
        return _described(made, notes)


def _is_plain(schema: Json) -> bool:
    """Return whether a schema without other keywords is supported by every provider."""
    return isinstance(schema.get("type"), str) and schema["type"] in _SCALARS and isinstance(schema.get("description", ""), str)


def _is_usable(name: str, value: Any) -> bool:
    """Return whether a keyword's value has the right type; providers ignore wrong types."""
    if name in ("title", "description", "format", "pattern"):
        return isinstance(value, str)
    return name == "propertyOrdering" or (isinstance(value, int | float) and not isinstance(value, bool))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
    return "array" if isinstance(value, list) else "object"


def _is_of(value: Any, types: list[Any]) -> bool:
    name = _type_of(value)
    is_whole = name == "integer" or (name == "number" and float(value).is_integer())
    return name in types or (is_whole and ("integer" in types or "number" in types))
