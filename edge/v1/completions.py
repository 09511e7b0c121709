"""`POST /v1/completions`: OpenAI's legacy API on chat models. The prompt becomes a user message."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
import orjson
from msgspec import Meta

from edge.call.endpoint_adapter import ChatStreamDefaults, EndpointAdapter, ParsedRequest, cost_fields, openai_usage
from edge.call.exchange import Finished
from edge.call.requests import Choices, Flag, Temperature, TokenLimit, Usage, build_chat_call, with_model
from edge.http.api_spec import (
    COST_SCHEMA,
    EVENTS,
    JSON,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    response_schema,
)
from edge.http.body_types import Body, ModelId, check_body
from edge.http.json_body import parse_json_object
from edge.v1.chat import DONE
from edge.v1.deltas import text_or_empty
from edge.v1.error_field_names import prompt_field
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

OUTPUT_TOKENS = 16  # OpenAI's default for this API
Prompt = Annotated[str, Meta(min_length=1)]
_CHAT_FIELDS = ("messages", "tools", "functions", "modalities", "response_format")


class CompletionRequest(Body):
    """A prompt to continue. Other fields are those of a chat completion."""

    EXAMPLE = {"model": "$model", "prompt": "Hello"}

    model: ModelId
    prompt: Annotated[
        Prompt | Annotated[list[Prompt], Meta(min_length=1, max_length=1)],
        Meta(description="A single prompt.", extra={"expected": "a single non-empty string. Send one request per prompt"}),
    ]
    max_tokens: Annotated[TokenLimit | None, Meta(description="Maximum tokens of each choice. Default: 16.")] = None
    temperature: Annotated[Temperature | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    n: Annotated[Choices | None, Meta(description="Number of choices to generate. Default: 1.")] = None
    best_of: Annotated[Choices | None, Meta(description="Only 1 or the value of `n`.")] = None
    stream: Annotated[Flag, Meta(description="Send the answer as server-sent events.")] = None
    echo: Annotated[Flag, Meta(description="Prepend the prompt to each choice.")] = None
    usage: Usage = None


def parse(data: bytes) -> tuple[ChatCall, str]:
    """Parse a body. Return the call, and the text to prepend to each choice (the prompt with `echo`, else "")."""
    body = parse_json_object(data)
    for name in _CHAT_FIELDS:
        if body.get(name):
            raise InvalidRequest(f"'{name}' is not supported here; use POST /v1/chat/completions.", name)
    if body.get("suffix"):
        raise InvalidRequest("'suffix' is not supported.", "suffix")
    if body.get("logprobs") is not None:
        raise InvalidRequest("'logprobs' is not supported here; use POST /v1/chat/completions.", "logprobs")
    requested = check_body(with_model(body), CompletionRequest)
    if requested.best_of not in (None, 1, requested.n):
        raise InvalidRequest("'best_of' must be 1 or equal to 'n'.", "best_of")
    prompt = requested.prompt if isinstance(requested.prompt, str) else requested.prompt[0]
    excluded = ("prompt", "suffix", "logprobs", "best_of", "echo", *_CHAT_FIELDS)
    chat = {name: value for name, value in body.items() if name not in excluded}
    chat["messages"] = [{"role": "user", "content": prompt}]
    if chat.get("max_tokens") is None:
        chat["max_tokens"] = OUTPUT_TOKENS
    return build_chat_call(chat, len(data))._replace(field_name=prompt_field), prompt if requested.echo else ""


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]
    created: int = 0


_decode = msgspec.json.Decoder(_Chunk).decode


class CompletionRenderer(ChatStreamDefaults):
    """Renders text completions. `echo` is prepended to each choice."""

    __slots__ = ("_call", "_echo", "_echoed", "_id")

    def __init__(self, call_id: UUID, call: ChatCall, echo: str) -> None:
        self._id = f"cmpl-{call_id.hex}"
        self._call = call
        self._echo = echo
        self._echoed: set[int] = set()

    def transform_chunks(self, chunks: bytes) -> bytes:
        """Translate complete canonical events to chunks, dropping those without text."""
        frames = (self._frame(_decode(event[6:])) for event in chunks.split(b"\n\n") if event)
        with_text = (frame for frame in frames if any(choice["text"] for choice in frame["choices"]))
        return b"".join([b"data: " + orjson.dumps(frame) + b"\n\n" for frame in with_text])

    def finish(self, event: Finished) -> bytes:
        """Return the last chunk, the usage chunk if requested, and `[DONE]`."""
        last = self._frame(msgspec.convert(event.body, _Chunk))
        if not self._call.include_usage:
            return b"data: " + orjson.dumps({**last, "yout": cost_fields(event)}) + b"\n\n" + DONE
        usage = {**last, "choices": [], "usage": openai_usage(event), "yout": cost_fields(event)}
        return b"data: " + orjson.dumps(last) + b"\n\ndata: " + orjson.dumps(usage) + b"\n\n" + DONE

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the completion."""
        return {**self._frame(msgspec.convert(event.body, _Chunk)), "usage": openai_usage(event), "yout": cost_fields(event)}

    def _frame(self, chunk: _Chunk) -> dict[str, Any]:
        choices = [self._choice(choice) for choice in chunk.choices]
        head = {"id": self._id, "object": "text_completion", "created": chunk.created, "model": self._call.model}
        return {**head, "choices": choices}

    def _choice(self, choice: _Choice) -> dict[str, Any]:
        delta = choice.delta or choice.message or _Delta()
        text = text_or_empty(delta.content) + text_or_empty(delta.refusal)
        if choice.index not in self._echoed:
            self._echoed.add(choice.index)
            text = self._echo + text
        return {"index": choice.index, "text": text, "logprobs": None, "finish_reason": choice.finish_reason}


def _open(data: bytes, call_id: UUID) -> ParsedRequest:
    call, echo = parse(data)
    return ParsedRequest(call, CompletionRenderer(call_id, call, echo))


DECLARATION = describe_model_call(
    "Create a completion (legacy)",
    ResponseSpec(
        response_schema(
            {
                "id": STRING,
                "object": enum("text_completion"),
                "choices": array(OPEN_OBJECT),
                "usage": OPEN_OBJECT,
                "yout": COST_SCHEMA,
            }
        ),
        "The completion, or its chunks with `stream: true`.",
        (JSON, EVENTS),
    ),
    body=CompletionRequest,
)
COMPLETIONS = EndpointAdapter(_open, declaration=DECLARATION)
