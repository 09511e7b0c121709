"""Recognizes the calls of one conversation, so that they go to the channel whose provider has cached their prompt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any
from uuid import UUID

from shared.dialects.base import ChatCall

MAX_MESSAGES = 64  # read to find the first one of the user
MAX_PARTS = 8  # of its content
SAMPLE_CHARS = 512  # of a text's start, and of its end
KEY_BYTES = 16


def conversation_key(call: ChatCall, payer: UUID) -> bytes:
    """Return a key that all calls of a conversation have in common, in every process: 16 bytes.

    It is the `prompt_cache_key` of the caller, or else the first message of the user. That message stays the same in every turn,
    and differs between conversations that share a system prompt, so they spread over the channels. The system prompt is left out
    because some clients put the time or a request's id into it. Only the start, the end and the length of long texts count.
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
    """Yield the message's text, or for content parts their texts, and the URLs or data of other parts."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
        return
    for part in islice(content or (), MAX_PARTS):
        payload = part.get(part["type"])
        values = payload.values() if isinstance(payload, dict) else (payload,)
        yield from (value for value in values if isinstance(value, str))
