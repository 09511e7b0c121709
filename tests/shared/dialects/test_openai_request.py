"""The output limit in a provider request: only one field, and never above the held amount."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from edge.call.requests import parse_chat_request
from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from shared.dialects.base import Target


def asked(fields: dict[str, Any], *, clamp: int | None = None, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """The output limit fields of the provider request for a call with `fields`."""
    id = UUID(int=1)
    route = Route(id, id, "c", "openai", "http://acme/v1", "", settings or {}, "acme-model", 0, 1)
    call = parse_chat_request(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}))
    request = DIALECTS["openai"].build_request(call, Target(route, "", "https://yout.chat", str, clamp))
    body = orjson.loads(request.body)
    return {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body}


@pytest.mark.parametrize(
    ("fields", "clamp", "settings", "expected"),
    [
        ({}, None, None, {}),
        ({}, 7, None, {"max_tokens": 7}),
        ({}, 7, {"max_tokens": "max_completion_tokens"}, {"max_completion_tokens": 7}),
        ({"max_tokens": 50}, None, None, {"max_tokens": 50}),
        ({"max_tokens": 50}, 7, None, {"max_tokens": 7}),
        ({"max_tokens": 5}, 7, None, {"max_tokens": 5}),
        ({"max_completion_tokens": 50}, None, None, {"max_completion_tokens": 50}),
        ({"max_completion_tokens": 50}, None, {"max_tokens": "max_tokens"}, {"max_tokens": 50}),
        ({"max_completion_tokens": 100, "max_tokens": 50}, None, None, {"max_completion_tokens": 50}),
        ({"max_completion_tokens": None, "max_tokens": 50}, None, None, {"max_tokens": 50}),
    ],
)
def test_the_smallest_limit_is_sent_in_one_field(
    fields: dict[str, Any], clamp: int | None, settings: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    assert asked(fields, clamp=clamp, settings=settings) == expected
