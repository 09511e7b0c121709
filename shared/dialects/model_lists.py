"""The list of models that a vendor offers to a credential: how each dialect asks for it and reads it. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from shared.dialects.anthropic import VERSION
from shared.dialects.base import MalformedStream, Target, VendorRequest
from shared.dialects.openai import request_headers

MOST_MODELS = 1_000
_GEMINI_PREFIX = "models/"


def request(target: Target) -> VendorRequest:
    """The request for the list, the first `MOST_MODELS` where the vendor pages it."""
    route = target.route
    url, own = f"{route.base_url}/models", None
    if route.dialect == "anthropic":
        url += f"?limit={MOST_MODELS}"
        own = {"anthropic-version": str(route.settings.get("version") or VERSION), "x-api-key": target.secret}
    elif route.dialect == "gemini":
        url += f"?pageSize={MOST_MODELS}"
        own = {"x-goog-api-key": target.secret}
    return VendorRequest("GET", url, request_headers(target, own), b"")


def read(dialect: str, data: bytes) -> list[str]:
    """The vendor's names of its models, in its order. Raises `MalformedStream` for what is no such list."""
    try:
        rows: Any = orjson.loads(data)["models" if dialect == "gemini" else "data"]
        if dialect == "gemini":
            names = [row["name"].removeprefix(_GEMINI_PREFIX) for row in rows if _generates(row)]
        else:
            names = [row["id"] for row in rows]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise MalformedStream("no list of models") from None
    if not isinstance(rows, list) or not all(isinstance(name, str) for name in names):
        raise MalformedStream("no list of models")
    return list(dict.fromkeys(names))[:MOST_MODELS]


def _generates(row: Any) -> bool:
    """Google lists models of all methods; those that say which must be able to chat."""
    methods = row.get("supportedGenerationMethods")
    return methods is None or "generateContent" in methods
