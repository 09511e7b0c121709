"""Generates a minimal instance of a JSON schema."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

DEPTHS = (3, 6, 12, 24, 48)
"""Maximum depths, tried in turn: recursive types end at the first depth that allows an instance."""

MAX_STEPS = 2_000
"""Schemas visited per attempt; a short recursive schema could otherwise expand to billions."""

MAX_LENGTH = 10_000

FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, Any]


class NoInstance(Exception):
    """No instance was found. The message names the cause."""


def minimal_instance(schema: Schema) -> Any:
    """Return a value that the schema allows: required properties only, shortest strings and lists, numbers near zero.

    Supports type, enum, const, anyOf, oneOf, allOf, local $ref, properties, items, prefixItems, the size and range
    keywords and common formats; `not`, `if` and similar keywords are ignored. Raises NoInstance.
    """
    for depth in DEPTHS:
        builder = _Builder(schema, depth)
        try:
            return builder.build(schema, 0)
        except NoInstance:
            if depth == DEPTHS[-1] or not builder.was_too_deep:
                raise
        except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise NoInstance("it is not a valid schema") from error
    raise AssertionError("the last attempt returns or raises")


class _Builder:
    def __init__(self, root: Schema, max_depth: int) -> None:
        self.was_too_deep = False
        self._root = root
        self._max_depth = max_depth
        self._steps = 0

    def build(self, schema: Any, depth: int) -> Any:
        self._step(depth)
        if schema is False:
            raise NoInstance("it contains the schema false, which allows nothing")
        if schema is True or not isinstance(schema, Mapping):
            return "demo"
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return self._first_possible(schema, branches, depth)
        return self._typed(schema, depth)

    def _step(self, depth: int) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise NoInstance(f"its smallest example needs more than {MAX_STEPS} steps")
        if depth > self._max_depth:
            self.was_too_deep = True
            raise NoInstance("it is infinitely recursive or nested too deeply")

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        """Return the schema with its $ref and allOf merged in."""
        self._step(depth)
        parts = list(schema.get("allOf") or ())
        if "$ref" in schema:
            parts.append(self._target(schema["$ref"]))
        whole = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
        for part in parts:
            if isinstance(part, Mapping):
                whole = _merged(whole, self._resolved(part, depth + 1))
        return whole

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise NoInstance(f"its $ref {reference!r} does not point into the schema")
        place: Any = self._root
        for step in reference[1:].strip("/").split("/") if reference != "#" else ():
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
                place = place[int(name)]
            elif isinstance(place, Mapping) and name in place:
                place = place[name]
            else:
                raise NoInstance(f"its $ref {reference!r} does not exist")
        return place

    def _first_possible(self, schema: Schema, branches: list[Any], depth: int) -> Any:
        """Build the first branch that allows an instance: recursive types often list the base case last."""
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}
        last_error = NoInstance("none of its alternatives allows an instance")
        for branch in branches:
            try:
                whole = _merged(rest, self._resolved(branch, depth + 1)) if isinstance(branch, Mapping) else branch
                return self.build(whole, depth + 1)
            except NoInstance as error:
                last_error = error
        raise last_error

    def _typed(self, schema: Schema, depth: int) -> Any:
        kind = _type_of(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "string":
            return _string(schema)
        return {"boolean": True, "null": None}[kind]

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        names = list(dict.fromkeys(schema.get("required") or ()))
        spare = (name for name in properties if name not in names)
        names += _first(spare, _size(schema, "minProperties") - len(names))
        return {name: self.build(properties.get(name, True), depth + 1) for name in names}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        items = schema.get("items", True)
        return [
            self.build(prefix[place] if place < len(prefix) else items, depth + 1) for place in range(_size(schema, "minItems"))
        ]


def _type_of(schema: Schema) -> str:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = next((kind for kind in kinds if kind != "null"), "null")
    if kinds is None:
        kinds = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kinds not in ("object", "array", "integer", "number", "string", "boolean", "null"):
        raise NoInstance(f"its type {kinds!r} is not a JSON type")
    return str(kinds)


def _string(schema: Schema) -> str:
    text = FORMATS.get(schema.get("format", ""), "demo")
    text = text.ljust(_size(schema, "minLength"), "o")
    if isinstance(schema.get("maxLength"), int):
        text = text[: schema["maxLength"]]
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        return _matching(pattern, text)
    return text


def _matching(pattern: str, text: str) -> str:
    """Try a few plain texts: generating a match for an arbitrary pattern is beyond a demo."""
    # Only short texts: some patterns need exponential time on long ones.
    candidates = [candidate for candidate in (text, "a", "A", "1", "", "Demo", "DEMO", "0000") if len(candidate) <= 12]
    try:
        return next(candidate for candidate in candidates if re.search(pattern, candidate))
    except (re.error, StopIteration):
        raise NoInstance(f"demo-echo has no text that matches the pattern {pattern!r}") from None


def _number(schema: Schema, whole: bool) -> int | float:
    """Return the allowed number nearest to zero. Draft 4's boolean exclusive bounds are treated as plain bounds."""
    step = _real(schema, "multipleOf") or (1 if whole else 0)
    low, high = _real(schema, "minimum", -math.inf), _real(schema, "maximum", math.inf)
    above, below = _real(schema, "exclusiveMinimum", -math.inf), _real(schema, "exclusiveMaximum", math.inf)
    for value in _candidates(max(low, above), min(high, below), step):
        if low <= value <= high and above < value < below:
            return int(value) if whole or value == int(value) else value
    raise NoInstance("its number bounds exclude every value")


def _candidates(low: float, high: float, step: float) -> Iterator[float]:
    yield 0
    for bound, away in ((low, 1), (high, -1)):
        if math.isinf(bound):
            continue
        if step:
            nearest = (math.ceil if away > 0 else math.floor)(bound / step) * step
            yield from (nearest, nearest + away * step)
        else:
            yield from (bound, bound + away)
    if math.isfinite(low) and math.isfinite(high):
        yield (low + high) / 2


def _real(schema: Schema, name: str, default: float = 0) -> float:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _size(schema: Schema, name: str) -> int:
    value = schema.get(name)
    if not isinstance(value, int):
        return 0
    if value > MAX_LENGTH:
        raise NoInstance(f"its {name} is above {MAX_LENGTH}")
    return value


def _merged(first: Schema, second: Schema) -> dict[str, Any]:
    """Merge two schemas: properties and required lists are combined, otherwise `first` takes precedence."""
    merged = {**second, **first}
    if "properties" in first and "properties" in second:
        merged["properties"] = {**second["properties"], **first["properties"]}
    if "required" in first and "required" in second:
        merged["required"] = [*first["required"], *second["required"]]
    return merged


def _first(names: Iterator[str], count: int) -> list[str]:
    return [name for name, _ in zip(names, range(count), strict=False)]
