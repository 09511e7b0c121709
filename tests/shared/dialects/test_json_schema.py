"""The JSON Schema converter: its output is in the provider's documented subset and accepts the same values as the original."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from shared.dialects.base import UnsupportedField
from shared.dialects.json_schema import ANTHROPIC, GEMINI, OPENAI, Profile, Unconvertible, convert, object_at_root
from tests.shared.dialects.calls import Json, request_body
from tests.shared.dialects.schema_subsets import CHECKS

PROFILES: dict[str, Profile] = {"gemini": GEMINI, "anthropic": ANTHROPIC, "openai": OPENAI}
each_profile = pytest.mark.parametrize("name", PROFILES)
Case = tuple[Json, Any]  # a schema, and a value that it accepts
ITEM_TYPE: Json = {"type": "integer"}
NAMES = st.sampled_from(["a", "b", "c", "größe", "x.y"])


def accepts(schema: Any, value: Any) -> bool:
    valid: bool = Draft202012Validator(schema).is_valid(value)
    return valid


# Any schema, with a value that it accepts: the features in which providers differ, in all combinations.


def scalars() -> st.SearchStrategy[Case]:
    texts = st.text(max_size=6).flatmap(
        lambda text: st.fixed_dictionaries(
            {"type": st.just("string")},
            optional={
                "minLength": st.integers(0, len(text)),
                "maxLength": st.integers(len(text), 9),
                "pattern": st.just("^"),
                "description": st.just("A text."),
                "format": st.sampled_from(["uri", "date-time", "regex"]),
                "default": st.just(text),
            },
        ).map(lambda schema: (schema, text))
    )
    numbers = st.integers(-5, 5).flatmap(
        lambda number: st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
            optional={
                "minimum": st.integers(-9, number),
                "exclusiveMaximum": st.integers(number + 1, 9),
                "multipleOf": st.just(1),
                "title": st.just("N"),
            },
        ).map(lambda schema: (schema, number))
    )
    plain = st.sampled_from(["x", "", 1, 2.5, True, False, None])
    enums = st.lists(plain, min_size=1, max_size=4).flatmap(
        lambda values: st.sampled_from(values).map(lambda value: ({"enum": values}, value))
    )
    consts = plain.map(lambda value: ({"const": value}, value))
    others = st.sampled_from([({"type": "boolean"}, True), ({"type": "null"}, None), ({"type": ["string", "null"]}, None)])
    return st.one_of(texts, numbers, enums, consts, others)


@st.composite
def objects(draw: Any, inner: Any, *, all_required: bool, is_open: bool) -> Case:
    parts: dict[str, Case] = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = [name for name in parts if all_required or draw(st.booleans())]
    value = {name: part[1] for name, part in parts.items() if name in required or draw(st.booleans())}
    schema: Json = {"type": "object", "properties": {name: part[0] for name, part in parts.items()}, "required": required}
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    elif is_open and draw(st.booleans()):
        unnamed = draw(inner)
        schema["additionalProperties"] = unnamed[0]
        value["unnamed"] = unnamed[1]
    if draw(st.booleans()):
        schema["maxProperties"] = 9
    return schema, value


@st.composite
def arrays(draw: Any, inner: Any) -> Case:
    if draw(st.booleans()):
        positions = draw(st.lists(inner, min_size=1, max_size=3))
        schema: Json = {
            "type": "array",
            "prefixItems": [each[0] for each in positions],
            "items": False,
            "minItems": len(positions),
        }
        return schema, [each[1] for each in positions]
    one = draw(inner)
    count = draw(st.integers(0, 3))
    return {"type": "array", "items": one[0], "minItems": draw(st.integers(0, count)), "maxItems": 3}, [one[1]] * count


@st.composite
def combined(draw: Any, inner: Any) -> Case:
    """Alternatives, and allOf: one schema split into parts, combined with an unrelated one."""
    schema, value = draw(inner)
    match draw(st.sampled_from(["anyOf", "oneOf", "allOf", "other_keywords", "split"])):
        case "anyOf" | "oneOf" as name:
            variants = [schema, *(other for other, _ in draw(st.lists(inner, max_size=2)))]
            return {name: draw(st.permutations(variants)), "description": "One of them."}, value
        case "allOf":
            return {"allOf": [schema], "title": "T", "description": "D"}, value
        case "other_keywords" if isinstance(value, dict) and "type" in schema:
            variants = [{"required": list(value)}, {"required": ["nowhere"], "properties": {"nowhere": {"type": "null"}}}]
            return {**schema, "anyOf": variants}, value
        case _:
            narrowing = {name: found for name, found in schema.items() if name not in ("type", "properties", "items")}
            return {"allOf": [schema, narrowing], "description": "D"}, value


@st.composite
def documents(draw: Any, *, all_required: bool = False, is_open: bool = True, root_object: bool = False) -> Case:
    """A whole schema; parts of it may be definitions, under either keyword."""
    where = draw(st.sampled_from(["$defs", "definitions"]))
    defs: dict[str, Json] = {}

    def defined(case: Case) -> st.SearchStrategy[Case]:
        name = f"D{len(defs)}"
        defs[name] = case[0]
        ref = {"$ref": f"#/{where}/{name}"}
        other_keywords = st.sampled_from([{}, {"title": "x"}, {"description": "y", "default": None}])
        return st.sampled_from([ref, {"allOf": [ref]}]).flatmap(
            lambda base: other_keywords.map(lambda more: ({**base, **more}, case[1]))
        )

    def grow(inner: Any) -> Any:
        made = objects(inner, all_required=all_required, is_open=is_open)
        return st.one_of(made, arrays(inner), combined(inner), made.flatmap(defined), inner.flatmap(defined))

    inner = st.recursive(scalars(), grow, max_leaves=6)
    schema, value = draw(objects(inner, all_required=all_required, is_open=is_open) if root_object else inner)
    if root_object and draw(st.booleans()):
        schema, value = draw(defined((schema, value)))
    schema = {**schema, where: defs} if defs else schema
    assume(accepts(schema, value))
    return schema, value


def check(name: str, case: Case, *, object_root: bool = False) -> None:
    schema, value = case
    before = json.dumps(schema)
    made = convert(schema, PROFILES[name], object_root=object_root)
    CHECKS[name](made)
    assert accepts(made, value), made
    assert json.dumps(schema) == before, "the original must not change"


@given(documents())
@settings(max_examples=60)
def test_any_schema_is_converted_to_geminis_subset(case: Case) -> None:
    check("gemini", case)


@given(documents(is_open=False))
@settings(max_examples=60)
def test_schemas_with_named_keys_are_converted_to_anthropics_subset(case: Case) -> None:
    check("anthropic", case)


@given(documents(is_open=False, all_required=True, root_object=True))
@settings(max_examples=60)
def test_schemas_with_only_required_keys_are_converted_to_openais_subset(case: Case) -> None:
    check("openai", case)


@given(
    st.lists(objects(scalars(), all_required=False, is_open=False), min_size=1, max_size=3),
    st.sampled_from(["gemini", "anthropic"]),
)
def test_alternatives_at_the_root_become_one_object(cases: list[Case], name: str) -> None:
    schema = {"anyOf": [each for each, _ in cases]}
    for _, value in cases:
        check(name, (schema, value), object_root=True)
        assert accepts(object_at_root(schema), value)


@st.composite
def roots(draw: Any) -> Case:
    """An object schema with anyOf or allOf, and other keywords next to it."""
    schema, value = draw(objects(scalars(), all_required=False, is_open=False))
    others = draw(st.lists(objects(scalars(), all_required=False, is_open=False), min_size=1, max_size=3))
    renamed = [
        ({**one, "properties": {f"{n}-{k}": v for k, v in one["properties"].items()}}, n, one, kept)
        for n, (one, kept) in enumerate(others)
    ]
    members = [{**made, "required": [f"{n}-{k}" for k in one["required"]]} for made, n, one, _ in renamed]
    _, place, _, chosen = draw(st.sampled_from(renamed))
    value = {**value, **{f"{place}-{key}": found for key, found in chosen.items()}}
    other_keywords: Json = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "minProperties": st.integers(0, len(value)),
                "maxProperties": st.integers(len(value), 9),
                "propertyNames": st.just({"maxLength": 9}),
                "patternProperties": st.just({"^x-": {"type": "integer"}}),
                "dependentRequired": st.just({"nowhere": ["a"]}),
                "not": st.just({"required": ["nowhere"]}),
                "additionalProperties": st.sampled_from([False, True, {"type": ["string", "integer", "null", "boolean"]}]),
            },
        )
    )
    if "patternProperties" in other_keywords and draw(st.booleans()):
        value["x-1"] = 1
    if isinstance(other_keywords.get("additionalProperties"), dict) and draw(st.booleans()):
        value["unnamed"] = "x"
    name = draw(st.sampled_from(["anyOf", "oneOf", "allOf"]))
    schema = {**schema, **other_keywords, name: members}
    assume(accepts(schema, value))
    return schema, value


@given(roots(), st.sampled_from(["gemini", "anthropic"]))
@settings(max_examples=60)
def test_a_root_with_alternatives_and_other_keywords_becomes_one_object(case: Case, name: str) -> None:
    schema, value = case
    made = object_at_root(schema)
    assert made["type"] == "object"
    assert made.keys().isdisjoint({"anyOf", "oneOf", "allOf"})
    assert accepts(made, value), made
    with suppress(Unconvertible):  # a provider may not support open objects
        check(name, case, object_root=True)


@pytest.mark.parametrize("combiner", ["anyOf", "oneOf", "allOf"])
@pytest.mark.parametrize(
    "other_keywords",
    [
        {"minProperties": 1},
        {"maxProperties": 2},
        {"propertyNames": {"maxLength": 9}},
        {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        {"dependentRequired": {"a": ["b"]}},
        {"not": {"required": ["c"]}},
        {"additionalProperties": {"type": "integer"}},
        {"unevaluatedProperties": False},
    ],
    ids=str,
)
def test_other_keywords_of_a_root_with_members_are_kept(other_keywords: Json, combiner: str) -> None:
    members = [{"required": ["a"]}, {"required": ["b"], "description": "B."}]
    made = object_at_root({"type": "object", "properties": {"a": {}, "b": {}}, **other_keywords, combiner: members})
    assert {name: made.get(name) for name in other_keywords} == other_keywords


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        ({"minProperties": 1}, {"minProperties": 2}, {"minProperties": 1}),
        ({"maxProperties": 1}, {"maxProperties": 2}, {"maxProperties": 2}),
        ({"maxProperties": 1}, {}, {}),
        ({"propertyNames": {"maxLength": 1}}, {"propertyNames": {"maxLength": 2}}, {}),
        ({"additionalProperties": False}, {"additionalProperties": ITEM_TYPE}, {"additionalProperties": ITEM_TYPE}),
        ({"additionalProperties": False}, {}, {}),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"additionalProperties": False}, {}),
    ],
)
def test_the_wider_of_different_alternatives_applies(one: Json, other: Json, kept: Json) -> None:
    made = object_at_root({"anyOf": [{"type": "object", **one}, {"type": "object", **other}]})
    assert made == {"type": "object", "properties": {}, **kept}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["#", "#/x", "object", "array"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "properties", "items", "anyOf", "allOf", "oneOf", "$ref", "enum", "const", "required", "nullable"),
                    *(
                        "$defs",
                        "additionalProperties",
                        "x",
                        "",
                        "not",
                        "prefixItems",
                        "minimum",
                        "minItems",
                        "description",
                        "format",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "anyOf", "allOf", "$ref", "items", "enum", "$defs"]), JSON))
@example({"properties": 1, "allOf": [{}]})
@example({"type": "object", "properties": {"a": {"type": "string", "required": True}}})
def test_any_input_is_converted_or_rejected(schema: Json) -> None:
    for profile in PROFILES.values():
        for object_root in (False, True):
            with suppress(Unconvertible):
                convert(schema, profile, object_root=object_root)


# Schemas as libraries send them


class Item(BaseModel):
    """An item."""

    name: str = Field(description="Its name", min_length=1)
    kind: Literal["a", "b"] = "a"
    price: float = Field(gt=0)
    note: str | None = None


class Order(BaseModel):
    first: Item = Field(description="The first one")
    rest: list[Item]
    pair: tuple[int, str]


class Tree(BaseModel):
    value: int
    children: list[Tree]


ORDER = {"first": {"name": "n", "price": 1.5}, "rest": [{"name": "m", "price": 2, "kind": "b", "note": None}], "pair": [1, "x"]}
TREE = {"value": 1, "children": [{"value": 2, "children": []}]}
ITEM = {"type": "object", "properties": {"a": {"type": "string"}}}
OTHER = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}


@pytest.mark.parametrize("name", ["gemini", "anthropic"])
@pytest.mark.parametrize("object_root", [False, True])
def test_a_pydantic_model(name: str, object_root: bool) -> None:
    check(name, (Order.model_json_schema(), ORDER), object_root=object_root)


@pytest.mark.parametrize(
    ("schema", "profile", "made"),
    [
        ({"$ref": "#/$defs/X", "$defs": {"X": ITEM}}, GEMINI, ITEM),
        (
            {"allOf": [ITEM, OTHER]},
            GEMINI,
            {**ITEM, "properties": {**ITEM["properties"], **OTHER["properties"]}, "required": ["b"]},
        ),  # type: ignore[dict-item]  # of mixed values
        ({"type": "object", "additionalProperties": {"type": "integer"}}, GEMINI, None),
        ({"type": "string", "nullable": True}, GEMINI, {"type": ["string", "null"]}),
        (
            {"type": ["string", "null"], "enum": ["a", None]},
            GEMINI,
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        ),
        ({"$schema": "x", "type": "string", "minLength": 1}, GEMINI, {"type": "string", "description": "(minLength: 1)"}),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1, "description": "A."}}},
            ANTHROPIC,
            {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "A. (minimum: 1)"}},
                "additionalProperties": False,
            },
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 3},
            ANTHROPIC,
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "(minItems: 3)"},
        ),
        (
            {"oneOf": [{"type": "string", "format": "email"}, {"type": "string", "format": "color"}]},
            ANTHROPIC,
            {"anyOf": [{"type": "string", "format": "email"}, {"type": "string", "description": '(format: "color")'}]},
        ),
        ({"const": 5}, ANTHROPIC, {"type": "integer", "enum": [5]}),
        ({"type": "object", "properties": {"a": False}}, GEMINI, {"type": "object", "properties": {}}),
        ({"type": "STRING"}, GEMINI, {"type": "string"}),
    ],
)
def test_rewritten_schemas(schema: Json, profile: Profile, made: Json | None) -> None:
    assert convert(schema, profile) == (schema if made is None else made)


@pytest.mark.parametrize("other_keywords", [{"title": "x"}, {"description": "x"}, {"title": "x", "default": None}])
@pytest.mark.parametrize("spelled", [{"$ref": "#/$defs/X"}, {"allOf": [{"$ref": "#/$defs/X"}]}])
@each_profile
def test_a_reference_has_no_sibling_keywords(name: str, spelled: Json, other_keywords: Json) -> None:
    item = {**ITEM, "required": ["a"]}
    schema = {
        "type": "object",
        "properties": {"x": {**spelled, **other_keywords}, "y": {"$ref": "#/$defs/X"}},
        "required": ["x", "y"],
        "$defs": {"X": item},
    }
    check(name, (schema, {"x": {"a": "1"}, "y": {"a": "2"}}))
    made = convert(schema, PROFILES[name])
    assert made["properties"]["x"]["properties"] == {"a": {"type": "string"}}
    assert made["properties"]["y"] == {"$ref": "#/$defs/X"}


def test_recursion_is_optional_for_gemini_and_rejected_for_anthropic() -> None:
    check("gemini", (Tree.model_json_schema(), TREE))
    check("openai", (Tree.model_json_schema(), TREE))
    with pytest.raises(Unconvertible) as refused:
        convert(Tree.model_json_schema(), ANTHROPIC)
    assert refused.value.where == "$defs.Tree.properties.children.items"


def test_a_recursive_reference_keeps_its_description() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#", "description": "The next one"}}, "required": ["next"]}
    made = convert(node, GEMINI)
    CHECKS["gemini"](made)
    assert made["$defs"]["root"]["properties"]["next"] == {"anyOf": [{"$ref": "#/$defs/root"}], "description": "The next one"}


@pytest.mark.parametrize(
    ("schema", "profile", "where"),
    [
        (
            {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}}},
            ANTHROPIC,
            "properties.m.additionalProperties",
        ),
        ({"type": "object", "properties": {"m": {"type": "object"}}}, ANTHROPIC, "properties.m"),
        ({"type": "object", "properties": {"m": {}}}, ANTHROPIC, "properties.m"),
        ({"type": "object", "properties": {}, "patternProperties": {"^x": {}}}, ANTHROPIC, "patternProperties"),
        ({"type": "object", "properties": {"m": {"enum": [{}]}}}, ANTHROPIC, "properties.m.enum"),
        ({"$ref": "https://example.com/x.json"}, GEMINI, ""),
        ({"type": "array", "items": {"$ref": "#/$defs/X"}}, GEMINI, "items"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, GEMINI, ""),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, GEMINI, "properties.a.type"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, OPENAI, "properties.a"),
        ({"type": "string"}, OPENAI, ""),
        ({"$ref": "#/$defs/X", "$defs": {"X": {"type": "array", "items": {"$ref": "#/$defs/X"}}}}, GEMINI, "$defs.X.items"),
    ],
)
def test_rejected_schemas_name_the_path(schema: Json, profile: Profile, where: str) -> None:
    with pytest.raises(Unconvertible) as refused:
        convert(schema, profile)
    assert refused.value.where == where


LEVELS = range(40)
PLAIN_KEYS = {f"p{number}": {"type": "string"} for number in range(3_000)}
EXPLOSIVE = {
    "members": {
        "$ref": "#/$defs/X0",
        "$defs": {f"X{n}": {"allOf": [{"$ref": f"#/$defs/X{n + 1}"}, {"$ref": f"#/$defs/X{n + 1}"}]} for n in LEVELS}
        | {"X40": ITEM},
    },
    "alternatives": {
        "anyOf": [
            {"$ref": "#/$defs/X0", "minProperties": 1},
            {"$ref": "#/$defs/X0", "minProperties": 2},
        ],
        "$defs": {
            f"X{n}": {
                "anyOf": [{"$ref": f"#/$defs/X{n + 1}", "minProperties": 1}, {"$ref": f"#/$defs/X{n + 1}", "minProperties": 2}]
            }
            for n in LEVELS
        }
        | {"X40": ITEM},
    },
    "keys of every alternative": {"type": "object", "properties": PLAIN_KEYS, "anyOf": [{"required": [n]} for n in PLAIN_KEYS]},
    "notes": {
        "type": "object",
        "properties": {"a": {"not": {"const": "x" * 100_000}, "anyOf": [{"type": "string", "minLength": n} for n in range(999)]}},
    },
    "references one after the other": {
        "$ref": "#/$defs/X0",
        "$defs": {f"X{n}": {"allOf": [{"$ref": f"#/$defs/X{n + 1}"}], "title": "t"} for n in range(3_000)} | {"X3000": ITEM},
    },
}


@pytest.mark.parametrize("schema", EXPLOSIVE.values(), ids=EXPLOSIVE)
@pytest.mark.parametrize("object_root", [False, True])
@pytest.mark.parametrize("profile", [GEMINI, ANTHROPIC], ids=["gemini", "anthropic"])
def test_a_schema_that_grows_exponentially_is_rejected(profile: Profile, object_root: bool, schema: Json) -> None:
    with pytest.raises(Unconvertible, match=r"too large|too deeply"):
        convert(schema, profile, object_root=object_root)


@pytest.mark.parametrize(("dialect", "strict"), [("gemini", False), ("anthropic", True)])
def test_the_tools_of_a_call_share_one_size_limit(dialect: str, strict: bool) -> None:
    below = {f"X{n}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/X{n + 1}", k: 1} for k in "ab"}} for n in range(10)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/X0", "x": 1}}, "$defs": below | {"X10": ITEM}}
    tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": schema, "strict": strict}} for n in range(10)]
    assert request_body(dialect, tools=tools[:1])["tools"]
    with pytest.raises(UnsupportedField, match=r"too large"):
        request_body(dialect, tools=tools)


@pytest.mark.parametrize("name", ["members", "alternatives", "references one after the other"])
def test_wrapping_the_root_does_not_grow_exponentially(name: str) -> None:
    with pytest.raises(Unconvertible, match=r"too large|too deeply"):
        object_at_root(EXPLOSIVE[name])


@pytest.mark.parametrize("object_root", [False, True])
def test_an_empty_keyword_is_dropped(object_root: bool) -> None:
    schema = {"type": "object", "": 5, "properties": {"a": {"type": "string", "": ["x"], "minLength": 2}}}
    made = {"type": "object", "properties": {"a": {"type": "string", "description": "(minLength: 2)"}}}
    assert convert(schema, GEMINI, object_root=object_root) == made


def test_annotations_of_all_members_are_kept() -> None:
    members = [{"type": "string", "not": {"const": number}} for number in range(4)]
    made = convert({"allOf": [{"allOf": members[:2]}, {"allOf": members[2:]}]}, GEMINI)
    notes = ", ".join(f'not: {{"const":{number}}}' for number in (1, 2, 3, 0))
    assert made == {"type": "string", "description": f"({notes})"}


def test_anchors_in_invalid_definitions_are_ignored() -> None:
    with pytest.raises(Unconvertible) as refused:
        convert({"type": "object", "$defs": [1], "properties": {"a": {"$ref": "#x"}}}, GEMINI)
    assert refused.value.where == "properties.a"


def test_exponential_growth_is_rejected() -> None:
    defs: Json = {"X0": {"type": "string"}}
    for level in range(1, 30):
        below = {"$ref": f"#/$defs/X{level - 1}", "description": "d"}
        defs[f"X{level}"] = {"type": "object", "properties": {"a": below, "b": below}}
    with pytest.raises(Unconvertible, match="too large"):
        convert({"$ref": "#/$defs/X29", "$defs": defs}, GEMINI)


def test_an_object_at_the_root() -> None:
    plain = {"type": "object", "properties": {"a": {"pattern": "x"}}, "not": {}}
    assert object_at_root(plain) is plain
    made = object_at_root({"$ref": "#/$defs/X", "$defs": {"X": ITEM}})
    assert made == {**ITEM, "$defs": {"X": ITEM}}
    with pytest.raises(Unconvertible):
        object_at_root({"type": "string"})
