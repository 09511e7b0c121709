"""`POST /api/chat/stream/`: the native stream. Converts its body to a chat call, and the call's chunks to small events.

Everything in between is shared with `/v1`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from msgspec import Meta

from edge.call.conversation_recorder import ConversationRecorder
from edge.call.endpoint_adapter import KEEPALIVE, EndpointAdapter, ParsedRequest, cost_fields, openai_usage
from edge.call.exchange import Finished
from edge.call.requests import ContentPart, Flag, Seed, Temperature, TokenLimit, TopP, build_chat_call
from edge.http.api_spec import (
    AUTH_ERRORS,
    CALL_ERRORS,
    EVENTS,
    WEB,
    ResponseSpec,
    RouteSpec,
)
from edge.http.body_types import ClosedBody, ModelId, check_body
from edge.http.errors import render_native_error
from edge.http.json_body import parse_json_object
from edge.http.tags import OwnMetadata
from edge.v1.deltas import Delta, deltas_of_body, deltas_of_events
from shared.core.errors import DailyAllowanceExhausted, InvalidRequest, NotFound, PurgeRunning
from shared.dialects.base import ChatCall
from shared.operations.conversations import ChatMessage

_FORWARDED = ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort", "metadata")
_ANSWER = ("text", "refusal")  # the kinds of deltas that make up the answer


class StreamMessage(ClosedBody):
    """A message of the conversation."""

    role: Annotated[Literal["system", "developer", "user", "assistant"], Meta(description="Author of the message.")]
    content: Annotated[
        str | list[ContentPart],
        Meta(description="Text, or an array of content parts.", extra={"expected": "a string or an array of content parts"}),
    ]


class StreamRequest(ClosedBody):
    """A conversation, as `messages` or as a single `prompt`."""

    EXAMPLE = {"model": "$model", "prompt": "Hello"}

    model: ModelId
    prompt: Annotated[Annotated[str, Meta(min_length=1)] | None, Meta(description="A single user message.")] = None
    messages: Annotated[
        Annotated[list[StreamMessage], Meta(min_length=1)] | None, Meta(description="The conversation, instead of `prompt`.")
    ] = None
    temperature: Annotated[Temperature | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    max_tokens: Annotated[TokenLimit | None, Meta(description="Maximum tokens of the answer, including reasoning.")] = None
    top_p: Annotated[TopP | None, Meta(description="Sample only from the most likely tokens with this total probability.")] = None
    seed: Annotated[Seed | None, Meta(description="Seed for repeatable sampling, where supported.")] = None
    reasoning_effort: Annotated[
        str | None, Meta(description="How much to reason, such as `low`, `medium` or `high`, for models that reason.")
    ] = None
    conversation_id: Annotated[
        Annotated[str, Meta(extra_json_schema={"format": "uuid"})] | None,
        Meta(description="Id of a stored conversation to continue."),
    ] = None
    store: Annotated[Flag, Meta(description="Store the conversation, if your plan includes it.")] = None
    metadata: OwnMetadata = None


def parse(data: bytes) -> ParsedRequest:
    """Parse a body. Raises `InvalidRequest`."""
    body = parse_json_object(data)
    requested = check_body(body, StreamRequest)
    messages = _messages(body, requested)
    chosen = {name: body[name] for name in _FORWARDED if body.get(name) is not None}
    options = {"model": body.get("model"), "stream": True, **chosen}
    call = build_chat_call({**options, "messages": messages}, len(data))
    if not requested.store and requested.conversation_id is None:
        return ParsedRequest(call, NativeEvents())
    listener = RecordingEvents()
    said = [ChatMessage(message["role"], message["content"]) for message in call.body["messages"]]

    def build(turns: list[ChatMessage]) -> ChatCall:
        whole = [{"role": turn.role, "content": turn.content} for turn in turns]
        return build_chat_call({**options, "messages": whole}, len(data) + len(orjson.dumps(whole[: -len(said)])))

    return ParsedRequest(
        call,
        listener,
        ConversationRecorder(
            requested.conversation_id, stores=bool(requested.store), new_turns=said, build=build, listener=listener
        ),
    )


def _messages(body: dict[str, Any], requested: StreamRequest) -> object:
    """Return the messages; a `prompt` becomes one. `build_chat_call` checks their content."""
    if requested.prompt is None:
        return body.get("messages")
    if requested.messages is not None:
        raise InvalidRequest("Send either 'messages' or 'prompt', not both.", "prompt")
    return [{"role": "user", "content": requested.prompt}]


class NativeEvents:
    """Renders one answer as native events; it is always a stream."""

    __slots__ = ()
    conversation: UUID | None = None

    def transform_chunks(self, chunks: bytes) -> bytes:
        """Translate complete canonical events to native events."""
        return _events(deltas_of_events(chunks))

    def finish(self, event: Finished) -> bytes:
        """Return the content of the last chunk, and the event that closes the stream."""
        pieces, reason = deltas_of_body(event.body)
        return _events(pieces) + b"data: " + orjson.dumps(self._done(event, reason)) + b"\n\n"

    def render_failure(self, error: BaseException) -> bytes:
        """Return the error's code and message as an event."""
        return render_native_error(error)

    def keepalive(self) -> bytes:
        """Return a comment, which clients ignore."""
        return KEEPALIVE

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the closing event."""
        return self._done(event, deltas_of_body(event.body)[1])

    def _done(self, event: Finished, reason: str) -> dict[str, Any]:
        conversation = self.conversation and str(self.conversation)
        return {
            "done": True,
            "finish_reason": reason,
            "usage": openai_usage(event),
            **cost_fields(event),
            "conversation_id": conversation,
        }


class RecordingEvents(NativeEvents):
    """Renders a call of a stored conversation, and records its answer."""

    __slots__ = ("_pieces", "conversation")

    def __init__(self) -> None:
        self.conversation: UUID | None = None
        self._pieces: list[str] = []

    def record(self, event: bytes | Finished) -> None:
        """Record the delivered text of the answer."""
        pieces = deltas_of_body(event.body)[0] if isinstance(event, Finished) else deltas_of_events(event)
        self._pieces += [piece.text for piece in pieces if piece.kind in _ANSWER]

    def recorded_text(self) -> str:
        """Return the recorded answer."""
        return "".join(self._pieces)


def _events(pieces: Iterable[Delta]) -> bytes:
    """Render pieces as events. Tool calls and provider signatures have none."""
    events = b""
    for piece in pieces:
        kind = "delta" if piece.kind in _ANSWER else piece.kind
        if piece.text and kind != "tool":
            events += b"data: " + orjson.dumps({kind: piece.text}) + b"\n\n"
    return events


def _open(data: bytes, _: UUID) -> ParsedRequest:
    return parse(data)


DECLARATION = RouteSpec(
    "Stream a chat completion",
    WEB,
    {
        200: ResponseSpec(
            None,
            'Server-sent events: `{"delta"}`, `{"reasoning"}`, `{"image"}` (a data URL), then `{"done"}` or `{"error"}`.',
            (EVENTS,),
        )
    },
    (*CALL_ERRORS, NotFound, PurgeRunning, DailyAllowanceExhausted, *AUTH_ERRORS),
    body=StreamRequest,
    notes="Send `prompt` or `messages`. `store: true` stores the conversation if your plan includes it; `conversation_id`"
    " continues one. Visitors without an account can use free models.",
)
NATIVE = EndpointAdapter(_open, allows_web_callers=True, declaration=DECLARATION)
