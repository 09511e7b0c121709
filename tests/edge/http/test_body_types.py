"""Checking a body against its type: accepted values, and errors that name the field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from edge.http.body_types import Body, ClosedBody, ModelId, Object, body_schemas, check_body
from shared.core.errors import InvalidRequest


class Inner(ClosedBody):
    kind: Literal["a", "b"]
    only: Literal["x"] | None = None


class Sample(Body):
    """A sample."""

    EXAMPLE = {"model": "$model"}

    model: ModelId
    count: Annotated[Annotated[int, Meta(ge=1, le=9)] | None, Meta(description="How many.")] = None
    low: Annotated[int, Meta(ge=0)] | None = None
    ratio: Annotated[float, Meta(ge=0.5, le=2)] | None = None
    flag: bool | None = None
    text: Annotated[str, Meta(max_length=3)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=2)] | None = None
    many: list[Inner] | None = None
    objects: Annotated[list[Object], Meta(min_length=1)] | None = None
    one: Inner | None = None
    token: Annotated[str | None, Meta(extra={"expected": "a token"})] = None


class Closed(ClosedBody):
    model: ModelId
    one: Inner | None = None


INVALID: list[tuple[dict[str, Any], str, str]] = [
    ({"model": ""}, "model", "a model id; see GET /v1/models"),
    ({"model": None}, "model", "a model id; see GET /v1/models"),
    ({"count": 10}, "count", "an integer between 1 and 9"),
    ({"count": 1.0}, "count", "an integer between 1 and 9"),
    ({"count": True}, "count", "an integer between 1 and 9"),
    ({"count": 10**30}, "count", "an integer between 1 and 9"),
    ({"low": -1}, "low", "an integer of at least 0"),
    ({"ratio": 0.4}, "ratio", "a number between 0.5 and 2"),
    ({"ratio": "1"}, "ratio", "a number between 0.5 and 2"),
    ({"ratio": False}, "ratio", "a number between 0.5 and 2"),
    ({"flag": 0}, "flag", "true or false"),
    ({"text": "xxxx"}, "text", "a string of at most 3 characters"),
    ({"stop": ["x"] * 3}, "stop", "a string or a list of at most 2 strings"),
    ({"stop": ["x", 1]}, "stop", "a string or a list of at most 2 strings"),
    ({"many": {}}, "many", "a list of objects"),
    ({"many": [{"kind": "a"}, 1]}, "many[1]", "an object with 'kind'"),
    ({"many": [{}]}, "many[0].kind", "one of a, b"),
    ({"many": [{"kind": "c' - at `$.model`"}]}, "many[0].kind", "one of a, b"),
    ({"objects": []}, "objects", "a non-empty list of objects"),
    ({"objects": [1]}, "objects", "a non-empty list of objects"),
    ({"one": []}, "one", "an object with 'kind'"),
    ({"one": {"kind": "a", "only": "y"}}, "one.only", "'x'"),
    ({"token": 1}, "token", "a token"),
]


@pytest.mark.parametrize(("fields", "param", "expected"), INVALID, ids=lambda value: repr(value)[:40])
def test_an_error_names_the_field_and_what_it_must_be(fields: dict[str, Any], param: str, expected: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_body({"model": "m", **fields}, Sample)
    assert (refused.value.param, str(refused.value)) == (param, f"'{param}' must be {expected}.")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_body({}, Sample)
    assert (refused.value.param, str(refused.value)) == ("model", "'model' must be a model id; see GET /v1/models.")


@pytest.mark.parametrize(
    ("fields", "param", "known"),
    [
        ({"color": 1}, "color", "model, one"),
        ({"one": {"kind": "a", "color": 1}}, "one.color", "kind, only"),
        ({"x" * 5_000: 1}, "x" * 100, "model, one"),
        ({"": 1}, "", "model, one"),
        ({"x` - at `$.nothing[0].y": 1}, "x", "model, one"),
        ({"x` - at `$": 1}, "x", "model, one"),
        ({"x` - at `$[3]": 1}, "x", "model, one"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_unknown_field_is_named(fields: dict[str, Any], param: str, known: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_body({"model": "m", **fields}, Closed)
    message = f"'{param}' is not supported here; the fields are {known}."
    assert (refused.value.param, str(refused.value)) == (param, message)


def test_null_means_omitted_and_the_body_stays_as_sent() -> None:
    optional = [name for name in Sample.__struct_fields__ if name != "model"]
    assert check_body({"model": "m", **dict.fromkeys(optional)}, Sample) == check_body({"model": "m"}, Sample)
    body = {"model": "m", "ratio": 1, "objects": [{"a": 1}], "unknown": 2}
    checked = check_body(body, Sample)
    assert (checked.ratio, type(body["ratio"])) == (1.0, int)
    assert body == {"model": "m", "ratio": 1, "objects": [{"a": 1}], "unknown": 2}


def test_a_form_may_have_numbers_as_text() -> None:
    checked = check_body({"model": "m", "ratio": "0.5", "flag": "true"}, Sample, strict=False)
    assert (checked.ratio, checked.flag) == (0.5, True)
    with pytest.raises(InvalidRequest, match="'ratio' must be a number between"):
        check_body({"model": "m", "ratio": "3"}, Sample, strict=False)


def test_the_schema_has_the_same_limits() -> None:
    bodies, objects = body_schemas({Sample, Closed}, "#/x/{name}")
    schema = bodies[Sample]
    assert schema["properties"]["count"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert schema["properties"]["count"]["description"] == "How many."
    assert (schema["required"], schema["examples"]) == (["model"], [{"model": "$model"}])
    assert "additionalProperties" not in schema
    assert bodies[Closed]["additionalProperties"] is False
    assert objects["Inner"]["properties"]["kind"]["enum"] == ["a", "b"]
    assert set(objects) == {"Inner"}
