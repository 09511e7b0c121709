"""Validates chat bodies and turns them into frozen calls. All functions raise `InvalidRequest` with the field's name.

Fields that OpenAI documents are checked if a wrong value could cost money or break a provider. Everything else, including
unknown fields, is forwarded unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from edge.call.routing_options import read_models, read_preferences
from edge.http.fields import parse_json_object, read_include_cost, requested_model
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

OWN_FIELDS = frozenset({"models", "provider", "usage"})  # never sent to a provider
MAX_CHOICES = 128
MAX_TOKENS = 10_000_000
MAX_STOP_SEQUENCES = 16
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal", "thinking", "video_url"})
# Upper bound in tokens for a part that is not text: no provider documents more for an image or a minute of audio.
IMAGE_TOKENS = 3_000
MESSAGE_OVERHEAD_TOKENS = 8  # role, separators, and priming of the completion


def parse_chat_request(data: bytes) -> ChatCall:
    """Parse the body of `POST /v1/chat/completions`."""
    return build_chat_call(parse_json_object(data), len(data))


def build_chat_call(body: dict[str, Any], size: int) -> ChatCall:
    """Return the validated call of a parsed chat body. `size` is the size of its JSON in bytes."""
    _check_fields(body)
    fallbacks: tuple[str, ...] = ()
    preferences = None
    include_cost = False
    if not OWN_FIELDS.isdisjoint(body):
        first, fallbacks = read_models(body)
        preferences = read_preferences(body.get("provider"))
        include_cost = read_include_cost(body)
        body = {name: value for name, value in body.items() if name not in OWN_FIELDS} | {"model": first}
    model = requested_model(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list with at least one message.", "messages")
    heavy_bytes, heavy_tokens = 0, 0
    for index, message in enumerate(messages):
        content = _message(message, index)
        if message.get("images"):
            content = [*(content or ()), *_images(message["images"], index)]
        if content:
            more_bytes, more_tokens = _non_text_parts(content, index)
            heavy_bytes += more_bytes
            heavy_tokens += more_tokens
    text_bytes = size - heavy_bytes
    return ChatCall(
        model=model,
        body=body,
        stream=_flag(body, "stream"),
        include_usage=_include_usage(body) or include_cost,
        choices=_integer(body, "n", 1, MAX_CHOICES) or 1,
        output_limit=_output_limit(body),
        # Each token of text takes at least one byte of the body.
        input_bound=text_bytes + heavy_tokens + MESSAGE_OVERHEAD_TOKENS * len(messages),
        input_estimate=text_bytes // 4 + heavy_tokens // 3 + 1,
        fallbacks=fallbacks,
        preferences=preferences,
        include_cost=include_cost,
    )


def _check_fields(body: Mapping[str, Any]) -> None:
    _number(body, "temperature", 0, 2)
    _number(body, "top_p", 0, 1)
    _number(body, "presence_penalty", -2, 2)
    _number(body, "frequency_penalty", -2, 2)
    _integer(body, "top_logprobs", 0, 20)
    _integer(body, "seed", -(2**63), 2**63 - 1)
    _stop(body.get("stop"))
    for name in ("logprobs", "store", "parallel_tool_calls"):
        _flag(body, name)
    for name in ("user", "safety_identifier", "reasoning_effort"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise InvalidRequest(f"'{name}' must be a string.", name)
    if body.get("modalities") is not None and not _is_list_of(body["modalities"], str):
        raise InvalidRequest("'modalities' must be a list of strings.", "modalities")
    for name in ("tools", "functions"):
        if body.get(name) is not None and not _is_list_of(body[name], dict):
            raise InvalidRequest(f"'{name}' must be a list of objects.", name)
    for name in ("response_format", "stream_options", "logit_bias", "metadata"):
        if body.get(name) is not None and not isinstance(body[name], dict):
            raise InvalidRequest(f"'{name}' must be an object.", name)
    if body.get("tool_choice") is not None and not isinstance(body["tool_choice"], str | dict):
        raise InvalidRequest("'tool_choice' must be a string or an object.", "tool_choice")


def _message(message: object, index: int) -> list[Any] | None:
    """Validate one message. Return its content parts, or None if its content is text or missing."""
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'role' and 'content'.", where)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidRequest(f"'{where}.role' must be one of {', '.join(sorted(ROLES))}.", f"{where}.role")
    calls = message.get("tool_calls")
    if calls is not None and not _is_list_of(calls, dict):
        raise InvalidRequest(f"'{where}.tool_calls' must be a list of objects.", f"{where}.tool_calls")
    content = message.get("content")
    if content is None:
        if role != "assistant":
            raise InvalidRequest(f"'{where}.content' is required.", f"{where}.content")
        return None
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        raise InvalidRequest(f"'{where}.content' must be a string or an array of content parts.", f"{where}.content")
    return content


def _images(images: object, index: int) -> list[Any]:
    """Return the images of an earlier completion, which come in a separate field, as content parts."""
    if not isinstance(images, list) or not all(isinstance(image, dict) and image.get("type") == "image_url" for image in images):
        where = f"messages[{index}].images"
        raise InvalidRequest(f"'{where}' must be an array of 'image_url' parts.", where)
    return images


def _non_text_parts(parts: list[Any], index: int) -> tuple[int, int]:
    """Return the size in bytes of the parts that are not text, and an upper bound for their tokens."""
    size = tokens = 0
    for position, part in enumerate(parts):
        where = f"messages[{index}].content[{position}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise InvalidRequest(f"'{where}' must be an object with a 'type'.", where)
        kind = part["type"]
        if kind == "text":
            if not isinstance(part.get("text"), str):
                raise InvalidRequest(f"'{where}.text' must be a string.", f"{where}.text")
        elif kind in PART_TYPES:
            payload = part.get(kind)
            encoded = _longest_string(payload)
            size += encoded
            # Audio and files are base64: their content has 3/4 of the size, and a token takes at least one byte.
            tokens += IMAGE_TOKENS if kind == "image_url" else IMAGE_TOKENS + encoded * 3 // 4
    return size, tokens


def max_non_text_tokens(body: Mapping[str, Any]) -> int:
    """Return an upper bound for the tokens of all parts of a chat body that are not text."""
    tokens = 0
    for index, message in enumerate(body["messages"]):
        for parts in (message.get("content"), message.get("images")):
            tokens += _non_text_parts(parts, index)[1] if isinstance(parts, list) else 0
    return tokens


def _longest_string(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return max((len(item) for item in value.values() if isinstance(item, str)), default=0)
    return 0


def _output_limit(body: Mapping[str, Any]) -> int | None:
    """Return `max_completion_tokens` or `max_tokens`, the smaller one if both are set."""
    limits = [_integer(body, name, 1, MAX_TOKENS) for name in ("max_completion_tokens", "max_tokens")]
    return min((limit for limit in limits if limit is not None), default=None)


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if not options:
        return False
    if not body.get("stream"):
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    return _flag(options, "include_usage", "stream_options.include_usage")


def _flag(body: Mapping[str, Any], name: str, param: str | None = None) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{param or name}' must be true or false.", param or name)
    return value


def _integer(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise InvalidRequest(f"'{name}' must be an integer between {low} and {high}.", name)
    return value


def _number(body: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high):
        raise InvalidRequest(f"'{name}' must be a number between {low} and {high}.", name)


def _stop(value: object) -> None:
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, list) or len(value) > MAX_STOP_SEQUENCES or not _is_list_of(value, str):
        raise InvalidRequest(f"'stop' must be a string or a list of at most {MAX_STOP_SEQUENCES} strings.", "stop")


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all input text, to count its tokens locally: contents, tool calls and tools, or texts to embed or rank."""
    if "messages" not in body:
        inputs = body.get("input") or [body.get("query"), *body.get("documents", ())]
        return inputs if isinstance(inputs, str) else "\n".join(text for text in inputs or () if isinstance(text, str))
    pieces: list[str] = []
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            pieces.append(content)
        elif isinstance(content, list):
            pieces += [part["text"] for part in content if isinstance(part.get("text"), str)]
        if message.get("tool_calls"):
            pieces.append(orjson.dumps(message["tool_calls"]).decode())
    if body.get("tools"):
        pieces.append(orjson.dumps(body["tools"]).decode())
    return "\n".join(pieces)
