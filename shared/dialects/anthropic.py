"""The `anthropic` dialect: Anthropic's Messages API, version 2023-06-01.

Settings of a channel:

    body               object merged into every request body
    headers            object of extra request headers, e.g. {"anthropic-beta": "…"}
    version            value of the `anthropic-version` header
    thinking           how models accept an effort: "adaptive" (the default), "budget" or "none", or an object by model name
    system_in_place    true, or a list of model names: these accept instructions in the middle of a conversation
    structured_output  false if models do not support `output_config.format`: schemas are then requested with a tool
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from shared.dialects.anthropic_request import body_of
from shared.dialects.anthropic_response import AnthropicTranslator, events_of
from shared.dialects.base import Answer, ChatCall, MalformedStream, StreamReader, Target, VendorError, VendorRequest
from shared.dialects.content_parts import json_format
from shared.dialects.openai import answer_of, error_object, request_headers, scrub
from shared.dialects.translated_stream import TranslatedStream, decoded, whole

VERSION = "2023-06-01"
_PATH = re.compile(r"([a-z_]+)(?:\.[\w.]+)?: ")
_PARAMS = {"system": "messages", "stop_sequences": "stop", "output_config": "response_format", "thinking": "reasoning_effort"}
# A 400 with these words concerns our account, not the request.
_OURS = re.compile(r"credit balance|billing|your (?:account|workspace|organi[sz]ation)", re.IGNORECASE)


class AnthropicDialect:
    """See the module's docstring."""

    def request(self, call: ChatCall, target: Target) -> VendorRequest:
        """Return the provider's request for `call`. Raises `UnsupportedField`."""
        version = str(target.route.settings.get("version") or VERSION)
        headers = request_headers(target, {"anthropic-version": version, "x-api-key": target.secret})
        return VendorRequest("POST", f"{target.route.base_url}/messages", headers, orjson.dumps(body_of(call, target)))

    def read_answer(self, data: bytes, call: ChatCall, call_id: str, began: int) -> Answer:
        """Parse a message that was not streamed, with the same translation as for streams."""
        translator = AnthropicTranslator(json_format(call.body)[0] != "text")
        try:
            chunks = [chunk for event in events_of(decoded(data)) for chunk in translator.read(event) if chunk is not None]
            body: dict[str, Any] = whole(chunks)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise MalformedStream("the response does not have the documented format") from None
        return answer_of({"id": call_id, "object": "chat.completion", "created": began, "model": call.model, **body})

    def read_stream(self, call: ChatCall, call_id: str, began: int) -> StreamReader:
        """Return a reader for one stream."""
        translator = AnthropicTranslator(json_format(call.body)[0] != "text")
        return TranslatedStream(call.model, call_id, began, translator)

    def read_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> VendorError:
        """Parse an error. Only 400, 413 and 422 can concern the request, and even a 400 may concern our account."""
        message = error_object(data).get("message")
        message = message if isinstance(message, str) else ""
        if status not in (400, 413, 422) or _OURS.search(message):
            return VendorError(False, None, None, None)
        path = _PATH.match(message)
        param = _PARAMS.get(path[1], path[1]) if path else None
        too_long = "prompt is too long" in message
        code = "context_length_exceeded" if too_long else None
        return VendorError(True, scrub(message, call.model, target) or None, "messages" if too_long else param, code)


ANTHROPIC = AnthropicDialect()
