"""The key by which the calls of one conversation go to the channel whose provider has cached their prompt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any
from uuid import UUID

from shared.dialects.base import ChatCall

MAX_MESSAGES = 64  # searched for the first message of the user
MAX_PARTS = 8  # content parts of that message that are read
SAMPLE_CHARS = 512  # read at the start of a text, and at its end
KEY_BYTES = 16


def conversation_key(call: ChatCall, payer: UUID) -> bytes:
    """Return a key of 16 bytes that is the same for all calls of a conversation, in every process.

    It is a hash of the caller's `prompt_cache_key`, or else of the first message of the user. That message is the same in every
    turn, and it differs between conversations that share a system prompt, so they spread over the channels. The system prompt is
    ignored because some clients put the time or a request id into it. Only the start, the end and the length of a text count.
    """
    digest = blake2b(payer.bytes, digest_size=KEY_BYTES)
    key = call.body.get("prompt_cache_key")
    for text in (key,) if isinstance(key, str) and key else _texts(_first_of_user(call.body["messages"])):
        digest.update(b"%d:" % len(text))
        sample = text if len(text) <= 2 * SAMPLE_CHARS else text[:SAMPLE_CHARS] + text[-SAMPLE_CHARS:]
        digest.update(sample.encode(errors="surrogatepass"))
    return digest.digest()


def _first_of_user(messages: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((message for message in islice(messages, MAX_MESSAGES) if message["role"] == "user"), messages[0])


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the message's text, or the text, URL or data of each content part."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
        return
    for part in islice(content or (), MAX_PARTS):
        payload = part.get(part["type"])
        values = payload.values() if isinstance(payload, dict) else (payload,)
        yield from (value for value in values if isinstance(value, str))
