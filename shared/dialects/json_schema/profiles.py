"""What each provider takes of JSON Schema, as its documentation says."""

from __future__ import annotations

from typing import NamedTuple

_ANNOTATIONS = frozenset({"title", "description"})
_BOUNDS = frozenset({"minimum", "maximum"})


class Profile(NamedTuple):
    """One provider's subset. Every profile takes `type`, `properties`, `required`, `items`, `enum`, `anyOf`, `$ref` and `$defs`.

    keywords      further keywords with a plain value that are sent as they are
    formats       values of `format` that it takes
    literals      types of the values that `enum` may hold; others become a type
    const         whether it knows `const`
    tuples        whether it knows `prefixItems`
    closed        whether every object must say `additionalProperties: false`, so that keys without a name are impossible
    all_required  whether every property must be required
    typed         whether every schema must say its type: one that accepts anything cannot be said
    recursion     `yes`, `no`, or `optional`: only within properties that are not required
    min_items     the largest `minItems` that it takes; None: any
    """

    keywords: frozenset[str]
    formats: frozenset[str]
    literals: frozenset[str] = frozenset({"string", "integer", "number", "boolean", "null"})
    const: bool = True
    tuples: bool = False
    closed: bool = True
    all_required: bool = False
    typed: bool = True
    recursion: str = "yes"
    min_items: int | None = None


# Google, "Structured outputs" and the reference of `GenerationConfig.responseJsonSchema`: `enum` for strings and numbers, `oneOf`
# read as `anyOf`, cyclic references only within properties that are not required, nothing beside `$ref`.
GEMINI = Profile(
    keywords=_ANNOTATIONS | _BOUNDS | {"minItems", "maxItems", "propertyOrdering"},
    formats=frozenset({"date-time", "date", "time"}),
    literals=frozenset({"string", "integer", "number"}),
    const=False,
    tuples=True,
    closed=False,
    typed=False,
    recursion="optional",
)
# Anthropic, "Structured outputs: JSON Schema limitations", and `transform_schema` of its Python SDK.
ANTHROPIC = Profile(
    keywords=_ANNOTATIONS | {"minItems"},
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    recursion="no",
    min_items=1,
)
# OpenAI, "Structured outputs: Supported schemas".
OPENAI = Profile(
    keywords=_ANNOTATIONS | _BOUNDS | {"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "minItems", "maxItems"},
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    all_required=True,
)
