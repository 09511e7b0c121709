"""The `responses` dialect: OpenAI's Responses API. Calls of the same API are relayed, others are translated.

Settings of a channel:

    body       object merged into every request body
    headers    object of extra request headers
    efforts, sampling, roles, identity, key_header, path, query   as in the `openai` dialect (`shared.dialects.openai`)
    reasoning_summary  value of `reasoning.summary` for translated calls, e.g. "auto", or an object by model name; default: none

Nothing is stored at the provider (`store: false`), so the edge resolves ids of earlier responses before a call is sent.
For reasoning models, `reasoning.encrypted_content` is requested, so a conversation keeps its reasoning nevertheless.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from msgspec.structs import replace

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
from shared.dialects.field_support import raise_unsupported
from shared.dialects.openai import channel_url, read_openai_error, request_headers, to_answer
from shared.dialects.responses_relay import RelayedStream, build_relayed_body, complete_answer
from shared.dialects.responses_request import build_body
from shared.dialects.responses_response import ResponsesTranslator
from shared.dialects.translated_stream import TranslatedStream, merge_chunks, parse_json_object

# The provider's field → the field of a chat body.
_PARAMS = (
    (r"input(?=$|[.\[])", "messages"),
    (r"max_output_tokens", "max_tokens"),
    (r"reasoning\.effort|reasoning", "reasoning_effort"),
    (r"text\.verbosity", "verbosity"),
    (r"text(\.format)?", "response_format"),
    (r"include", "logprobs"),
)


class ResponsesDialect:
    """See the module's docstring."""

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`. Raises `UnsupportedField`."""
        body = build_body(call, target) if call.responses_body is None else build_relayed_body(call.responses_body(), target)
        url = channel_url(target.route, "/responses")
        return ProviderRequest("POST", url, request_headers(target), orjson.dumps(body), tuple(body))

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:
        """Parse a response that was not streamed, with the same translation as for streams."""
        response = parse_json_object(data)
        if not isinstance(response.get("output"), list):
            raise MalformedStream("no output")
        try:
            chunks = [chunk for chunk in ResponsesTranslator().read_whole(response) if chunk is not None]
            body: dict[str, Any] = {**merge_chunks(chunks), "service_tier": response.get("service_tier")}
        except BrokenStream as error:
            raise MalformedStream(str(error)) from None
        except (TypeError, ValueError, KeyError, AttributeError):
            raise MalformedStream("the response does not have the documented format") from None
        answer = to_answer({"id": call_id, "object": "chat.completion", "created": created, "model": call.model, **body})
        return answer if call.responses_body is None else replace(answer, body=complete_answer(response))

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> StreamReader:
        """Return a reader for one stream."""
        if call.responses_body is not None:
            return RelayedStream()
        return TranslatedStream(call.model, call_id, created, ResponsesTranslator())

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error. For a call that is not relayed, its field is converted to the field of a chat body.

        Raises `UnsupportedField` for reasoning that another provider or account encrypted, because another channel may accept it.
        """
        error = read_openai_error(status, data, call.model, target)
        if error.code == "invalid_encrypted_content":
            raise_unsupported("messages", "its encrypted reasoning is from another provider")
        if call.responses_body is not None or error.param is None:
            return error
        return error._replace(param=_chat_field(error.param))


def _chat_field(param: str) -> str:
    for pattern, name in _PARAMS:
        if re.match(rf"(?:{pattern})(?=$|[.\[])", param):
            return name
    return param


RESPONSES = ResponsesDialect()
