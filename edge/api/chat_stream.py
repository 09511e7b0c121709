"""`POST /api/chat/stream/`: the native stream. Converts its body to a chat call, and the call's chunks to small events.

Everything in between is shared with `/v1`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from edge.call.conversation_recorder import ConversationRecorder
from edge.call.endpoint_adapter import KEEPALIVE, EndpointAdapter, ParsedRequest, cost_fields, openai_usage
from edge.call.exchange import Finished
from edge.call.requests import MAX_TOKENS, build_chat_call
from edge.http.api_spec import (
    ANY,
    AUTH_ERRORS,
    BOOLEAN,
    CALL_ERRORS,
    EVENTS,
    ID,
    TEXT,
    WEB,
    ResponseSpec,
    RouteSpec,
    array,
    enum,
    example,
    integer,
    number,
    request_schema,
    string,
)
from edge.http.errors import render_native_error
from edge.http.fields import MAX_MODEL_LENGTH, parse_json_object, reject_unknown_fields
from edge.v1.deltas import Delta, deltas_of_body, deltas_of_events
from shared.core.errors import DailyAllowanceExhausted, InvalidRequest, NotFound, PurgeRunning
from shared.dialects.base import ChatCall
from shared.operations.conversations import ChatMessage

FIELDS = ("model", "messages", "prompt", "temperature", "max_tokens", "conversation_id", "store")
MESSAGE_FIELDS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant")
_ANSWER = ("text", "refusal")  # the kinds of deltas that make up the answer


def parse(data: bytes) -> ParsedRequest:
    """Parse a body. Raises `InvalidRequest`."""
    body = parse_json_object(data)
    reject_unknown_fields("", body, FIELDS)
    messages = _messages(body)
    store, conversation = _storage(body)
    chosen = {name: body[name] for name in ("temperature", "max_tokens") if body.get(name) is not None}
    options = {"model": body.get("model"), "stream": True, **chosen}
    call = build_chat_call({**options, "messages": messages}, len(data))
    if not store and conversation is None:
        return ParsedRequest(call, NativeEvents())
    listener = RecordingEvents()
    said = [ChatMessage(message["role"], message["content"]) for message in call.body["messages"]]

    def build(turns: list[ChatMessage]) -> ChatCall:
        whole = [{"role": turn.role, "content": turn.content} for turn in turns]
        return build_chat_call({**options, "messages": whole}, len(data) + len(orjson.dumps(whole[: -len(said)])))

    return ParsedRequest(
        call, listener, ConversationRecorder(conversation, stores=store, new_turns=said, build=build, listener=listener)
    )


def _messages(body: dict[str, Any]) -> object:
    """Return the messages; a `prompt` becomes one. `build_chat_call` validates what is not checked here."""
    messages, prompt = body.get("messages"), body.get("prompt")
    if prompt is None:
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            _check_message(message, f"messages[{index}]")
        return messages
    if messages is not None:
        raise InvalidRequest("Send either 'messages' or 'prompt', not both.", "prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("'prompt' must be a non-empty string.", "prompt")
    return [{"role": "user", "content": prompt}]


def _check_message(message: object, where: str) -> None:
    if isinstance(message, dict):
        reject_unknown_fields(f"{where}.", message, MESSAGE_FIELDS)
        if message.get("role") not in ROLES:
            raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
        if message.get("content") is None:
            raise InvalidRequest(f"'{where}.content' is required.", f"{where}.content")


def _storage(body: dict[str, Any]) -> tuple[bool, str | None]:
    """Return whether to store the turn, and the id of the conversation to continue."""
    store, conversation = body.get("store"), body.get("conversation_id")
    if store is not None and not isinstance(store, bool):
        raise InvalidRequest("'store' must be true or false.", "store")
    if conversation is not None and not isinstance(conversation, str):
        raise InvalidRequest("'conversation_id' must be a string.", "conversation_id")
    return bool(store), conversation


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


_TURN = request_schema({"role": enum(*ROLES), "content": ANY}, required=("role", "content"))
_EVENTS = 'Server-sent events: `{"delta"}`, `{"reasoning"}`, `{"image"}` (a data URL), then `{"done"}` or `{"error"}`.'
DECLARATION = RouteSpec(
    "Stream a chat completion",
    WEB,
    {
        200: ResponseSpec(
            None,
            _EVENTS,
            (EVENTS,),
        )
    },
    (*CALL_ERRORS, NotFound, PurgeRunning, DailyAllowanceExhausted, *AUTH_ERRORS),
    body=example(
        request_schema(
            {
                "model": string(MAX_MODEL_LENGTH),
                "prompt": TEXT,
                "messages": array(_TURN, 1),
                "temperature": number(0, 2),
                "max_tokens": integer(1, MAX_TOKENS),
                "conversation_id": ID,
                "store": BOOLEAN,
            },
            required=("model",),
        ),
        {"model": "$model", "prompt": "Hello"},
    ),
    notes="Send `prompt` or `messages`. `store: true` stores the conversation if your plan includes it; `conversation_id`"
    " continues one. Visitors without an account can use free models.",
)
NATIVE = EndpointAdapter(_open, allows_web_callers=True, declaration=DECLARATION)
