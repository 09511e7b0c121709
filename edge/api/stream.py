"""`POST /api/chat/stream/`: the native stream. Its body becomes a chat call, and an answer's chunks become small events.

Everything between the two is that of `/v1`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import orjson

from edge.errors import render_event
from edge.exchange import Finished
from edge.requests import chat_call, json_object, only_fields
from edge.surface import KEEPALIVE, Asked, Surface, spent, usage_of
from shared.errors import AccessDenied, InvalidRequest
from shared.providers.base import ChatCall

FIELDS = ("model", "messages", "prompt", "temperature", "max_tokens", "conversation_id", "store")
MESSAGE_FIELDS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant")


def read(data: bytes) -> ChatCall:
    """The call that a body asks for. Raises `InvalidRequest`, and `AccessDenied` where a conversation is to be kept."""
    body = json_object(data)
    only_fields("", body, FIELDS)
    messages = _messages(body)
    _refuse_to_keep(body)
    chosen = {name: body[name] for name in ("temperature", "max_tokens") if body.get(name) is not None}
    return chat_call({"model": body.get("model"), "messages": messages, "stream": True, **chosen}, len(data))


def _messages(body: dict[str, Any]) -> object:
    """The messages, also of a prompt. Those that are none at all are left to the check of every chat body."""
    messages, prompt = body.get("messages"), body.get("prompt")
    if prompt is None:
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            _check_message(message, f"messages[{index}]")
        return messages
    if messages is not None:
        raise InvalidRequest("Send either 'messages' or 'prompt', not both.", "prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("'prompt' must be a string that is not empty.", "prompt")
    return [{"role": "user", "content": prompt}]


def _check_message(message: object, where: str) -> None:
    if isinstance(message, dict):
        only_fields(f"{where}.", message, MESSAGE_FIELDS)
        if message.get("role") not in ROLES:
            raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
        if message.get("content") is None:
            raise InvalidRequest(f"'{where}.content' is required.", f"{where}.content")


def _refuse_to_keep(body: dict[str, Any]) -> None:
    store, conversation = body.get("store"), body.get("conversation_id")
    if store is not None and not isinstance(store, bool):
        raise InvalidRequest("'store' must be true or false.", "store")
    if conversation is not None and not isinstance(conversation, str):
        raise InvalidRequest("'conversation_id' must be a string.", "conversation_id")
    if store or conversation is not None:
        raise AccessDenied(
            "No plan includes stored conversations yet. Leave out 'store' and 'conversation_id', and send the earlier messages"
            " with each request.",
            "plan_required",
        )


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


class Events:
    """The native events of one answer, which is always a stream."""

    __slots__ = ()

    def relay(self, chunks: bytes) -> bytes:
        """The native events of whole canonical events, each of them `data: ` and a chunk in one line."""
        return b"".join([_told(_decode(event[6:])) for event in chunks.split(b"\n\n") if event])

    def ending(self, event: Finished) -> bytes:
        """What the last chunk still says, and the event that closes the stream."""
        last = msgspec.convert(event.body, _Chunk)
        return _told(last) + b"data: " + orjson.dumps(self._done(event, last)) + b"\n\n"

    def failure(self, error: BaseException) -> bytes:
        """The error's code and message."""
        return render_event(error)

    def keepalive(self) -> bytes:
        """A comment."""
        return KEEPALIVE

    def whole(self, event: Finished) -> dict[str, Any]:
        """The closing event alone."""
        return self._done(event, msgspec.convert(event.body, _Chunk))

    def _done(self, event: Finished, last: _Chunk) -> dict[str, Any]:
        reason = next((choice.finish_reason for choice in last.choices if choice.index == 0), None)
        return {"done": True, "finish_reason": reason, "usage": usage_of(event), **spent(event), "conversation_id": None}


def _told(chunk: _Chunk) -> bytes:
    """What a chunk says of the first choice: maybe nothing, maybe both reasoning and text."""
    events = b""
    for choice in chunk.choices:
        if choice.index == 0 and choice.delta is not None:
            delta = choice.delta
            events += _event("reasoning", delta.reasoning_content or delta.reasoning)
            events += _event("delta", delta.content) + _event("delta", delta.refusal)
    return events


def _event(kind: str, said: Any) -> bytes:
    text = _text(said)
    return b"data: " + orjson.dumps({kind: text}) + b"\n\n" if text else b""


def _text(said: Any) -> str:
    """Text as it is; of a list of parts, as some vendors send it, the text of those that have one."""
    if isinstance(said, list):
        return "".join(part["text"] for part in said if isinstance(part, dict) and isinstance(part.get("text"), str))
    return said if isinstance(said, str) else ""


def _open(data: bytes, _: UUID) -> Asked:
    return Asked(read(data), Events())


NATIVE = Surface(_open, for_web=True)
