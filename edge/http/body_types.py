"""Types of request bodies. Each body is declared once, as a struct beside its route, which validates and documents it.

    class EmbeddingsRequest(Body):
        \"""A batch of inputs to embed.\"""

        EXAMPLE = {"model": "$embedding", "input": ["Hello"]}
        model: ModelId
        dimensions: Annotated[Annotated[int, Meta(ge=1, le=65_536)] | None, Meta(description="Length of a vector.")] = None

In a field of type `… | None`, null means the same as an omitted field. Rules that involve several fields are in the route's code.
`Meta(extra={"expected": …})` replaces the description of a type in error messages. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta, inspect

from shared.core.errors import InvalidRequest

MAX_MODEL_LENGTH = 200
MAX_QUOTED_NAME = 100  # characters of an unknown field's name that an error message repeats

ModelId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_MODEL_LENGTH,
        description="Model id; see `GET /v1/models`.",
        extra={"expected": "a model id; see GET /v1/models"},
    ),
]
Object = dict[str, Any]


class Body(msgspec.Struct, gc=False):
    """A JSON object. Unknown fields are not checked here: the dialects pass them on or refuse them.

    In `EXAMPLE`, `$model` stands for a chat model of the catalog, and `$image` (or another kind) for a model of that kind.
    """

    EXAMPLE: ClassVar[Mapping[str, Any] | None] = None


class ClosedBody(Body, forbid_unknown_fields=True):
    """A JSON object whose unknown fields are refused."""


BodyType = TypeVar("BodyType", bound=Body)


def check_body(body: Mapping[str, Any], declared: type[BodyType], *, strict: bool = True) -> BodyType:
    """Return the declared fields of `body`, which stays unchanged. Raises `InvalidRequest` with the field's name.

    `strict=False` also accepts numbers and booleans as text, for forms.
    """
    try:
        return msgspec.convert(body, declared, strict=strict)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), declared) from None


def body_schemas(
    declared: Collection[type[Body]], ref_template: str
) -> tuple[dict[type[Body], dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the JSON schemas (2020-12) of bodies, and those of the objects in them by name. `ref_template` contains `{name}`."""
    _, objects = msgspec.json.schema_components(sorted(declared, key=str), ref_template=ref_template)
    bodies = {body: objects.pop(body.__name__) for body in declared}
    return {body: schema | ({"examples": [body.EXAMPLE]} if body.EXAMPLE else {}) for body, schema in bodies.items()}, objects


# Errors

# Parts of msgspec's messages. A message may contain a caller's text: the name of an unknown field.
_AT = " - at `$"
_MISSING = "Object missing required field `"
_UNKNOWN = "Object contains unknown field `"
_STEP = re.compile(r"\.([^.\[]+)(?:\[\])?|\[(\d+)\]")
_type_info = cache(inspect.type_info)


def _refusal(message: str, declared: type[Body]) -> InvalidRequest:
    """Return the error for msgspec's `message`, which ends with the path of the value, such as "$.messages[0].role"."""
    problem, found, path = message.rpartition(_AT)
    if not found:
        problem, path = message, ""
    if problem.startswith(_MISSING):
        path = f"{path.rstrip('`')}.{problem[len(_MISSING) : -1]}"
    param, kind = _declaration(path.rstrip("`"), declared)
    if problem.startswith(_UNKNOWN):
        name = problem[len(_UNKNOWN) : -1][:MAX_QUOTED_NAME]
        param = f"{param}.{name}" if param else name
        known = ", ".join(field.encode_name for object in _of(kind, inspect.StructType) for field in object.fields)
        return InvalidRequest(f"'{param}' is not supported here; the fields are {known}.", param)
    return InvalidRequest(f"'{param}' must be {_describe(kind)}.", param)


def _declaration(path: str, declared: type[Body]) -> tuple[str, inspect.Type]:
    """Return the name and the declared type of the field at `path`. For an item of a list of plain values, that is the list."""
    param, kind = "", _type_info(declared)
    for step in _STEP.finditer(path):
        name, index = step.groups()
        if name:
            fields = (field for object in _of(kind, inspect.StructType) for field in object.fields)
            inner = next((field.type for field in fields if field.encode_name.removesuffix("[]") == name), None)
        else:
            inner = next((items.item_type for items in _of(kind, inspect.ListType)), None)
        if inner is None or (index and not any(_of(inner, inspect.StructType))):
            break
        param, kind = (f"{param}.{name}" if param else name) if name else f"{param}[{index}]", inner
    return param, kind


Kind = TypeVar("Kind", bound=inspect.Type)


def _of(kind: inspect.Type, wanted: type[Kind]) -> Iterator[Kind]:
    """Yield the `wanted` types among the alternatives of `kind`."""
    if isinstance(kind, inspect.Metadata):
        yield from _of(kind.type, wanted)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _of(one, wanted)
    elif isinstance(kind, wanted):
        yield kind


def _describe(kind: inspect.Type) -> str:
    """Describe the values of a type, such as "an integer between 1 and 128"."""
    match kind:
        case inspect.Metadata():
            return (kind.extra or {}).get("expected") or _describe(kind.type)
        case inspect.UnionType():
            return " or ".join(_describe(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case inspect.IntType():
            return _range("an integer", kind.ge, kind.le)
        case inspect.FloatType():
            return _range("a number", kind.ge, kind.le)
        case inspect.StrType():
            return _length("string", "characters", kind.min_length, kind.max_length)
        case inspect.ListType():
            return _length("list", _plural(kind.item_type), kind.min_length, kind.max_length)
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}" if len(kind.values) > 1 else f"'{kind.values[0]}'"
        case inspect.BoolType():
            return "true or false"
        case inspect.StructType():
            required = " and ".join(f"'{field.encode_name}'" for field in kind.fields if field.required)
            return f"an object with {required}" if required else "an object"
        case inspect.DictType():
            return "an object"
    return "valid"


def _range(noun: str, low: float | None, high: float | None) -> str:
    if low is None:
        return noun
    return f"{noun} between {low} and {high}" if high is not None else f"{noun} of at least {low}"


def _length(noun: str, items: str, low: int | None, high: int | None) -> str:
    if high is not None:
        return f"a {noun} of {low} to {high} {items}" if low else f"a {noun} of at most {high} {items}"
    plain = f"a non-empty {noun}" if low else f"a {noun}"
    return plain if noun == "string" else f"{plain} of {items}"


def _plural(kind: inspect.Type) -> str:
    if any(_of(kind, inspect.StructType)) or any(_of(kind, inspect.DictType)):
        return "objects"
    return "strings" if any(_of(kind, inspect.StrType)) or any(_of(kind, inspect.LiteralType)) else "values"
