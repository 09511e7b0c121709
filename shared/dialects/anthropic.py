"""The `anthropic` dialect: Anthropic's Messages API, version 2023-06-01.

Settings of a channel:

    body               object merged into every request body
    headers            object of extra request headers, e.g. {"anthropic-beta": "…"}
    version            value of the `anthropic-version` header
    thinking           how models accept an effort: "adaptive" (the default), "budget" or "none", or an object by model name
    system_in_place    true, or a list of model names: these accept instructions in the middle of a conversation
    tool_search        false if models do not support deferred tools: these are then sent only once they are loaded
    structured_output  false if models do not support `output_config.format`: schemas are then requested with a tool
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from shared.dialects.anthropic_request import build_body
from shared.dialects.anthropic_response import AnthropicTranslator, message_events
from shared.dialects.base import Answer, ChatCall, MalformedStream, ProviderError, ProviderRequest, StreamReader, Target
from shared.dialects.content_parts import response_format
from shared.dialects.custom_tools import custom_names
from shared.dialects.openai import error_object, request_headers, scrub_message, to_answer
from shared.dialects.translated_stream import TranslatedStream, merge_chunks, parse_json_object

VERSION = "2023-06-01"
_PATH = re.compile(r"([a-z_]+)(?:\.[\w.]+)?: ")
_PARAMS = {"system": "messages", "stop_sequences": "stop", "output_config": "response_format", "thinking": "reasoning_effort"}
# A 400 with these words concerns our account, not the request.
_OURS = re.compile(r"credit balance|billing|your (?:account|workspace|organi[sz]ation)", re.IGNORECASE)


class AnthropicDialect:
    """See the module's docstring."""

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`. Raises `UnsupportedField`."""
        version = str(target.route.settings.get("version") or VERSION)
        headers = request_headers(target, {"anthropic-version": version, "x-api-key": target.secret})
        body = build_body(call, target)
        return ProviderRequest("POST", f"{target.route.base_url}/messages", headers, orjson.dumps(body), tuple(body))

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:
        """Parse a message that was not streamed, with the same translation as for streams."""
        translator = _translator(call)
        try:
            chunks = [
                chunk
                for event in message_events(parse_json_object(data))
                for chunk in translator.read(event)
                if chunk is not None
            ]
            body: dict[str, Any] = merge_chunks(chunks)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise MalformedStream("the response does not have the documented format") from None
        completion = {"id": call_id, "object": "chat.completion", "created": created, "model": call.model, **body}
        return to_answer(completion, custom_names(call.body))

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> StreamReader:
        """Return a reader for one stream."""
        return TranslatedStream(call.model, call_id, created, _translator(call), custom_names(call.body))

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error. Only 400, 413 and 422 can concern the request, and even a 400 may concern our account."""
        message = error_object(data).get("message")
        message = message if isinstance(message, str) else ""
        if status not in (400, 413, 422) or _OURS.search(message):
            return ProviderError(False, None, None, None)
        path = _PATH.match(message)
        param = _PARAMS.get(path[1], path[1]) if path else None
        too_long = "prompt is too long" in message
        code = "context_length_exceeded" if too_long else None
        return ProviderError(True, scrub_message(message, call.model, target) or None, "messages" if too_long else param, code)


ANTHROPIC = AnthropicDialect()


def _translator(call: ChatCall) -> AnthropicTranslator:
    return AnthropicTranslator(response_format(call.body)[0] != "text", searches=call.server_tool is not None)
