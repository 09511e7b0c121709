"""Requests and parses a provider's list of models, for each dialect. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from shared.dialects.anthropic import VERSION
from shared.dialects.base import MalformedStream, ProviderRequest, Target
from shared.dialects.openai import request_headers

MAX_MODELS = 1_000
_GEMINI_PREFIX = "models/"


def request(target: Target) -> ProviderRequest:
    """Return the request for the list, limited to `MAX_MODELS` if the provider has paging."""
    route = target.route
    url, own = f"{route.base_url}/models", None
    if route.dialect == "anthropic":
        url += f"?limit={MAX_MODELS}"
        own = {"anthropic-version": str(route.settings.get("version") or VERSION), "x-api-key": target.secret}
    elif route.dialect == "gemini":
        url += f"?pageSize={MAX_MODELS}"
        own = {"x-goog-api-key": target.secret}
    return ProviderRequest("GET", url, request_headers(target, own), b"")


def read(dialect: str, data: bytes) -> list[str]:
    """Return the provider's model names in its order. Raises `MalformedStream` for invalid data."""
    try:
        rows: Any = orjson.loads(data)["models" if dialect == "gemini" else "data"]
        if dialect == "gemini":
            names = [row["name"].removeprefix(_GEMINI_PREFIX) for row in rows if _generates(row)]
        else:
            names = [row["id"] for row in rows]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise MalformedStream("not a list of models") from None
    if not isinstance(rows, list) or not all(isinstance(name, str) for name in names):
        raise MalformedStream("not a list of models")
    return list(dict.fromkeys(names))[:MAX_MODELS]


def _generates(row: Any) -> bool:
    """Return whether Google's model supports chat, if its methods are listed."""
    methods = row.get("supportedGenerationMethods")
    return methods is None or "generateContent" in methods
