"""The `gemini` dialect: Google's generateContent and streamGenerateContent, version v1beta.

Settings of a channel:

    body      object merged into every request body, e.g. {"safetySettings": […]}
    headers   object of extra request headers
    thinking  how models accept an effort: "level" (the default), "budget" or "none", or an object by model name

The API key is sent in a header, not in the URL, which would be logged.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from shared.dialects.base import (
    Answer,
    BrokenStream,
    ChatCall,
    MalformedStream,
    ProviderError,
    ProviderRequest,
    StreamReader,
    Target,
)
from shared.dialects.custom_tools import custom_names
from shared.dialects.gemini_request import build_body
from shared.dialects.gemini_response import GeminiTranslator
from shared.dialects.openai import error_object, request_headers, scrub_message, to_answer
from shared.dialects.translated_stream import TranslatedStream, merge_chunks, parse_json_object

_ACCOUNT_REASONS = ("API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID")
_ACCOUNT_WORDS = re.compile(r"api key|billing|location is not supported", re.IGNORECASE)
_PATH = re.compile(r"\b(generation_config|contents|tools|tool_config|system_instruction)\b", re.IGNORECASE)
_PARAMS = {"contents": "messages", "system_instruction": "messages", "tools": "tools", "tool_config": "tool_choice"}
_DELAY = re.compile(r"(\d{1,6})(?:\.\d+)?s")


class GeminiDialect:
    """See the module's docstring."""

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`. Raises `UnsupportedField`."""
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        url = f"{target.route.base_url}/models/{target.route.upstream_model}:{method}"
        headers = request_headers(target, {"x-goog-api-key": target.secret})
        body = build_body(call, target)
        return ProviderRequest("POST", url, headers, orjson.dumps(body), tuple(body))

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:
        """Parse an answer that was not streamed, with the same translation as for streams."""
        answer = parse_json_object(data)
        if not isinstance(answer.get("candidates"), list) and not answer.get("promptFeedback"):
            raise MalformedStream("no candidates")
        try:
            chunks = [chunk for chunk in _translator(call, call_id).read(answer) if chunk is not None]
            body: dict[str, Any] = merge_chunks(chunks)
        except BrokenStream as error:
            raise MalformedStream(str(error)) from None
        except (TypeError, ValueError, KeyError, AttributeError):
            raise MalformedStream("the response does not have the documented format") from None
        if not body["choices"]:
            raise MalformedStream("no candidates")
        completion = {"id": call_id, "object": "chat.completion", "created": created, "model": call.model, **body}
        return to_answer(completion, custom_names(call.body))

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> StreamReader:
        """Return a reader for one stream."""
        return TranslatedStream(call.model, call_id, created, _translator(call, call_id), custom_names(call.body))

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error. A 400 concerns the request, unless it is about our API key, project or location."""
        error = error_object(data)
        message = error.get("message")
        message = message if isinstance(message, str) else ""
        found = error.get("details")
        details = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        ours = any(str(one.get("reason")) in _ACCOUNT_REASONS for one in details) or error.get("status") == "FAILED_PRECONDITION"
        if status not in (400, 413, 422) or ours or _ACCOUNT_WORDS.search(message):
            return ProviderError(False, None, None, None, _retry_after_ms(details))
        if "token count" in message and "exceeds" in message:
            return ProviderError(True, scrub_message(message, call.model, target) or None, "messages", "context_length_exceeded")
        path = _PATH.search(message)
        return ProviderError(
            True, scrub_message(message, call.model, target) or None, _PARAMS.get(path[1].lower()) if path else None, None
        )


def _translator(call: ChatCall, call_id: str) -> GeminiTranslator:
    return GeminiTranslator(call_id, call.body.get("parallel_tool_calls") is False)


def _retry_after_ms(details: list[dict[str, Any]]) -> int | None:
    """Read the delay from `google.rpc.RetryInfo`: `{"retryDelay": "34s"}`."""
    for one in details:
        delay = _DELAY.fullmatch(str(one.get("retryDelay", "")))
        if delay:
            return int(delay[1]) * 1000
    return None


GEMINI = GeminiDialect()
