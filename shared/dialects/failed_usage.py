"""Reads the usage in a provider's response that contains no usable answer. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.billing.token_usage import PartialUsage, read_openai_usage
from shared.dialects import anthropic_response, gemini_response, responses_response
from shared.dialects.base import MalformedStream
from shared.dialects.translated_stream import parse_json_object

_READERS: dict[str, Callable[[dict[str, Any]], PartialUsage]] = {
    "openai": lambda body: read_openai_usage(body.get("usage"), body.get("service_tier")),
    "responses": responses_response.read_usage,
    "anthropic": lambda body: read_openai_usage(anthropic_response.canonical_usage(body["usage"])),
    "gemini": lambda body: read_openai_usage(gemini_response.canonical_usage(body["usageMetadata"])),
}


def read_failed_usage(data: bytes, dialect: str) -> PartialUsage:
    """Return the usage that a response reports; empty if it reports none, or is not in the format of the dialect."""
    try:
        return _READERS[dialect](parse_json_object(data))
    except (MalformedStream, TypeError, ValueError, KeyError, AttributeError):
        return PartialUsage()
