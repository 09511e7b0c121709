"""The smallest instance of a schema, by example."""

import pytest

from embedded.demo_schema import NoInstance, minimal_instance

LIST = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, "id": {"type": "integer"}},
            "required": ["id", "next"],
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({}, "demo"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"a": None}),
        ({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {}}, "minProperties": 1}, {"a": True}),
        ({"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2}, ["x", "x"]),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2}, [1, 2]),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, 1.5),
        ({"type": "string", "minLength": 6}, "demooo"),
        ({"type": "string", "maxLength": 2}, "de"),
        ({"type": "string", "pattern": "^[0-9]{4}$"}, "0000"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": "demo"}),
        ({"anyOf": [False, {"const": 3}]}, 3),
    ],
)
def test_smallest_instance(schema, instance):
    assert minimal_instance(schema) == instance


def test_recursion_ends_at_the_first_opportunity():
    assert minimal_instance(LIST) == {"id": 0, "next": None}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"$ref": "#/$defs/gone"}, "does not exist"),
        ({"$ref": "https://example.com/schema"}, "does not point into"),
        ({"$ref": "#"}, "infinitely recursive"),
        ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "more than 2000 steps"),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, "infinitely recursive"),
        ({"type": "array", "minItems": 9000, "items": {"type": "array", "minItems": 9000}}, "more than 2000 steps"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "exclude every value"),
        ({"type": "string", "pattern": "^(x{9}|y{9})$"}, "has no text that matches"),
        ({"type": "array", "minItems": 10**9}, "above"),
        ({"type": "money"}, "not a JSON type"),
        ({"allOf": 5}, "not a valid schema"),
        ({"properties": ["a"], "required": ["a"]}, "not a valid schema"),
        ({"type": "integer", "minimum": 1e300, "multipleOf": 1e-300}, "not a valid schema"),
        ({"type": "string", "minLength": 60, "pattern": "^(o+)+(oo|x)$"}, "has no text that matches"),
    ],
)
def test_an_unsupported_schema_is_explained(schema, problem):
    with pytest.raises(NoInstance, match=problem):
        minimal_instance(schema)
