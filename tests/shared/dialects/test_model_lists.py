"""Model lists in the format of each dialect's providers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest

from shared.catalog.snapshot import Route
from shared.dialects import model_lists
from shared.dialects.base import MalformedStream, Target


def target(dialect: str, **settings: Any) -> Target:
    ids = (uuid4(), uuid4())
    route = Route(*ids, "a", dialect, "https://acme.example/v1", "", settings, "", 0, 1)
    return Target(route, "the-secret", "https://yout.chat", lambda user: user)


@pytest.mark.parametrize(
    ("dialect", "settings", "url", "header"),
    [
        ("openai", {}, "https://acme.example/v1/models", ("authorization", "Bearer the-secret")),
        ("openai", {"key_header": "api-key"}, "https://acme.example/v1/models", ("api-key", "the-secret")),
        ("responses", {}, "https://acme.example/v1/models", ("authorization", "Bearer the-secret")),
        ("anthropic", {}, "https://acme.example/v1/models?limit=1000", ("x-api-key", "the-secret")),
        ("gemini", {}, "https://acme.example/v1/models?pageSize=1000", ("x-goog-api-key", "the-secret")),
    ],
)
def test_each_dialect_sends_its_own_credential(dialect: str, settings: dict[str, Any], url: str, header: tuple[str, str]) -> None:
    asked = model_lists.request(target(dialect, **settings))
    assert (asked.method, asked.url, asked.body) == ("GET", url, b"")
    assert header in asked.headers
    assert "the-secret" not in asked.url


def test_names_are_read_in_order_without_duplicates() -> None:
    data = orjson.dumps({"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]})
    assert model_lists.read("openai", data) == model_lists.read("anthropic", data) == ["b", "a"]
    rows = [
        {"name": "models/gemini-a", "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/embedder", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/gemini-b"},
    ]
    assert model_lists.read("gemini", orjson.dumps({"models": rows})) == ["gemini-a", "gemini-b"]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"data":{},"models":3}', b'{"data":[1],"models":[{"name":2}]}'])
def test_an_invalid_list_is_rejected(dialect: str, data: bytes) -> None:
    with pytest.raises(MalformedStream):
        model_lists.read(dialect, data)
