"""JSON Schema subsets of each provider, according to their documentation."""

from __future__ import annotations

from typing import NamedTuple

_ANNOTATIONS = frozenset({"title", "description"})
_BOUNDS = frozenset({"minimum", "maximum"})


class Profile(NamedTuple):
    """A provider's subset. Every one includes `type`, `properties`, `required`, `items`, `enum`, `anyOf`, `$ref` and `$defs`.

    keywords      other keywords with a plain value that are sent unchanged
    formats       supported values of `format`
    literals      supported types of values in `enum`; other values are replaced by their type
    const         whether `const` is supported
    tuples        whether `prefixItems` is supported
    closed        whether every object must have `additionalProperties: false`, so unnamed keys are impossible
    all_required  whether every property must be required
    typed         whether every schema must have a type, so a schema that accepts anything is impossible
    recursion     `yes`, `no`, or `optional`: only within properties that are not required
    min_items     maximum supported value of `minItems`; None means any
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
# treated as `anyOf`, cyclic references only within properties that are not required, no keywords next to `$ref`.
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
