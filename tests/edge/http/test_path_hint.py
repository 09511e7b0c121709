"""Paths from a misconfigured base URL: served if the intent is clear, otherwise answered with the correct base URL."""

from __future__ import annotations

import pytest

from edge.http.asgi_entry import canonical_path
from edge.http.path_hint import NO_HINT, path_hint

KNOWN = {"/v1/chat/completions", "/v1/models", "/v1/messages", "/v1/messages/count_tokens"}
BASE = "https://api.example.com"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//v1/models", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("///v1///models//", "/v1/models/"),
        ("/v1/v1/models", "/v1/models"),
        ("/v1/v1/v1/models", "/v1/models"),
        ("//v1//v1/models", "/v1/models"),
        ("//api/chat/models/", "/api/chat/models/"),
        ("/v1/models", "/v1/models"),
        ("/v1/v1", "/v1/v1"),
        ("//metrics", "//metrics"),  # not normalized, because a proxy may block the plain path
        ("//account", "//account"),
        ("/v11//models", "/v11//models"),
    ],
)
def test_slashes_and_prefixes(path: str, meant: str) -> None:
    assert canonical_path(path) == meant


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/chat/completions", f"Set your client's base URL to {BASE}/v1."),
        ("/models/", f"Set your client's base URL to {BASE}/v1."),
        ("/openai/v1/chat/completions", f"Set your client's base URL to {BASE}/v1."),
        ("/api/chat/completions", f"Set your client's base URL to {BASE}/v1."),
        ("/messages", f"Set your client's base URL to {BASE}, or to {BASE}/v1 if the client does not add /v1."),
        ("/anthropic/v1/messages", f"Set your client's base URL to {BASE}, or to {BASE}/v1 if the client does not add /v1."),
        ("/v1/nothing", NO_HINT),
        ("/v1", NO_HINT),
        ("/", NO_HINT),
        ("/" * 200, NO_HINT),
    ],
)
def test_the_hint_for_a_path(path: str, hint: str) -> None:
    assert path_hint(path, BASE, KNOWN.__contains__) == hint
