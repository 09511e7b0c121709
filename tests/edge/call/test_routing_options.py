"""Parsing `models` and `provider` of a request body, and rejecting invalid values by field name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from edge.call.requests import parse_chat_request
from edge.v1 import completions
from edge.v1.messages import request as messages
from edge.v1.responses import request as responses
from shared.catalog.routing import RoutingPreferences
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall


def read(**fields: Any) -> ChatCall:
    return parse_chat_request(orjson.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}))


@pytest.mark.parametrize(
    ("fields", "model", "fallbacks"),
    [
        ({"model": "a"}, "a", ()),
        ({"model": "a", "models": ["b", "c"]}, "a", ("b", "c")),
        ({"model": "a", "models": ["a", "b", "b"]}, "a", ("b",)),
        ({"models": ["b", "c"]}, "b", ("c",)),
        ({"model": "a", "models": None}, "a", ()),
    ],
)
def test_models(fields: dict[str, Any], model: str, fallbacks: tuple[str, ...]) -> None:
    call = read(**fields)
    assert (call.model, call.fallbacks, call.body["model"]) == (model, fallbacks, model)
    assert "models" not in call.body


@pytest.mark.parametrize(
    ("parse", "fields"),
    [
        (completions.parse, {"prompt": "hi"}),
        (responses.parse, {"input": "hi"}),
        (messages.parse, {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}),
    ],
)
def test_models_without_a_model_in_every_format(parse: Any, fields: dict[str, Any]) -> None:
    parsed = parse(orjson.dumps({"models": ["b", "c"], **fields}))
    call = parsed if isinstance(parsed, ChatCall) else next(part for part in parsed if isinstance(part, ChatCall))
    assert (call.model, call.fallbacks) == ("b", ("c",))
    with pytest.raises(InvalidRequest) as refused:
        parse(orjson.dumps(fields))
    assert refused.value.param == "model"


def test_preferences_are_never_sent_to_the_provider() -> None:
    call = read(model="a", provider={"only": ["acme"]})
    assert call.preferences == RoutingPreferences(only=("acme",))
    assert "provider" not in call.body


def test_all_preferences() -> None:
    provider = {
        "order": ["x"],
        "ignore": ["y"],
        "allow_fallbacks": False,
        "sort": "price",
        "data_collection": "deny",
        "max_price": {"prompt": 5, "completion": 7},
    }
    expected = RoutingPreferences(("x",), None, ("y",), False, "price", True, 5, 7)
    assert read(model="a", provider=provider).preferences == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None, "provider": {}}, "model"),
        ({"models": []}, "models"),
        ({"models": "a"}, "models"),
        ({"models": ["a", 5]}, "models"),
        ({"models": ["m"] * 9}, "models"),
        ({"provider": "acme"}, "provider"),
        ({"provider": {"quantizations": ["int8"]}}, "provider.quantizations"),
        ({"provider": {"order": "acme"}}, "provider.order"),
        ({"provider": {"only": [1]}}, "provider.only"),
        ({"provider": {"sort": "beauty"}}, "provider.sort"),
        ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
        ({"provider": {"max_price": 5}}, "provider.max_price"),
        ({"provider": {"max_price": {"prompt": 0.5}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"image": 5}}}, "provider.max_price.image"),
    ],
)
def test_invalid_values_are_rejected_by_field_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**{"model": "a", **fields})
    assert refused.value.param == param
