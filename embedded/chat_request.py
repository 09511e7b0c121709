"""Parses and validates a chat request for both models. Unknown fields are ignored, as OpenAI's clients expect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedded.errors import invalid_request
from embedded.json_fields import boolean, integer, number, one_of
from embedded.messages import ChatMessage, read_messages
from embedded.tool_choice import Tool, ToolChoice, read_tool_choice, read_tools

MAX_CHOICES = 8
MAX_STOPS = 4
PENALTIES = ("presence_penalty", "frequency_penalty")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request. `schema` is set only for the format json_schema; `sampling` holds only fields that were sent."""

    model: str
    messages: tuple[ChatMessage, ...]
    stream: bool
    include_usage: bool
    n: int
    max_tokens: int | None
    stop: tuple[str, ...]
    sampling: dict[str, float | int]
    top_logprobs: int | None
    format: str
    schema: Mapping[str, Any] | None
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice


def read_chat_request(body: Any) -> ChatRequest:
    """Validate a decoded JSON body. Raises ApiError 400 that names the field."""
    if not isinstance(body, dict):
        raise invalid_request(None, "The request body must be a JSON object.")
    tools = read_tools(body)
    stream = boolean(body, "stream")
    answer_format, schema = _response_format(body)
    return ChatRequest(
        model=_model(body),
        messages=read_messages(body),
        stream=stream,
        include_usage=_include_usage(body, stream),
        n=integer(body, "n", 1, MAX_CHOICES) or 1,
        max_tokens=_max_tokens(body),
        stop=_stop(body),
        sampling=_sampling(body),
        top_logprobs=_top_logprobs(body),
        format=answer_format,
        schema=schema,
        tools=tools,
        tool_choice=read_tool_choice(body, tools),
    )


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request("model", "'model' must be the ID of a model, as a string. GET /v1/models lists them.")
    return model


def _include_usage(body: dict[str, Any], stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise invalid_request("stream_options", "'stream_options' must be an object.")
    if not stream:
        raise invalid_request("stream_options", "'stream_options' is only allowed with 'stream': true.")
    return boolean(options, "include_usage", "stream_options.include_usage")


def _max_tokens(body: dict[str, Any]) -> int | None:
    limits = [integer(body, name, 1, None) for name in ("max_tokens", "max_completion_tokens")]
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


def _stop(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) and text for text in stops):
        raise invalid_request("stop", "'stop' must be a non-empty string or a list of non-empty strings.")
    if len(stops) > MAX_STOPS:
        raise invalid_request("stop", f"'stop' takes at most {MAX_STOPS} strings.")
    return tuple(stops)


def _sampling(body: dict[str, Any]) -> dict[str, float | int]:
    """Return the sampling fields that were sent. repeat_penalty, top_k and min_p are llama.cpp's own."""
    values: dict[str, float | int | None] = {
        "temperature": number(body, "temperature", 0, 2),
        "top_p": number(body, "top_p", 0, 1),
        "min_p": number(body, "min_p", 0, 1),
        "top_k": integer(body, "top_k", 0, 1000),
        "repeat_penalty": number(body, "repeat_penalty", 0.1, 2),
        "seed": integer(body, "seed", None, None),
    }
    values |= {name: number(body, name, -2, 2) for name in PENALTIES}
    return {name: value for name, value in values.items() if value is not None}


def _top_logprobs(body: dict[str, Any]) -> int | None:
    """Return the number of alternatives per token, or None if log probabilities were not requested."""
    enabled = boolean(body, "logprobs")
    count = integer(body, "top_logprobs", 0, 20)
    if count is not None and not enabled:
        raise invalid_request("top_logprobs", "'top_logprobs' requires 'logprobs': true.")
    return (count or 0) if enabled else None


def _response_format(body: dict[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    response_format = body.get("response_format")
    if response_format is None:
        return "text", None
    if not isinstance(response_format, dict):
        raise invalid_request("response_format", "'response_format' must be an object.")
    name = one_of(response_format, "type", ("text", "json_object", "json_schema"), "response_format.type")
    if name != "json_schema":
        return name, None
    wrapper = response_format.get("json_schema")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    if not isinstance(schema, dict):
        raise invalid_request("response_format", "'response_format.json_schema.schema' must be a JSON schema object.")
    return name, schema
