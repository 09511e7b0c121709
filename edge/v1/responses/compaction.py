"""Compaction: the model summarizes a conversation, and later calls send the summary instead of the conversation. Pure.

`POST /v1/responses/compact`, or a `compaction_trigger` as the last item of a response's input. As in OpenAI's API, the result is
a `compaction` item with opaque content. The summary is in the item itself, so nothing is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from edge.v1.provider_fields import decode_thinking, encode_thinking
from shared.core.errors import InvalidRequest

Json = dict[str, Any]
TRIGGER = "compaction_trigger"
COMPACTIONS = ("compaction", "compaction_summary", "context_compaction")  # types of items that replace a conversation
_KIND = "summary"
_PROMPT = (
    "The conversation above is about to be replaced by a summary. Write that summary for the assistant that will continue the"
    " work and will see nothing else of it: what the user wants and which constraints apply; decisions and facts that were found,"
    " with exact names, paths, values and errors; what is done and in which state files and systems are; what remains to be done,"
    " with the next step. Do not continue the work, and do not call tools. Write only the summary."
)
PROMPT_BYTES = len(_PROMPT)  # added to the caller's text
_HEADING = "Summary of the conversation so far, which replaces it:\n\n"


def is_compaction(items: object) -> bool:
    """Return whether an `input` ends with a trigger."""
    return isinstance(items, list) and bool(items) and isinstance(items[-1], dict) and items[-1].get("type") == TRIGGER


def last_compacted(items: Sequence[Any]) -> int:
    """Return the index of the last trigger that is followed by its compaction, or -1.

    The compaction replaces all items before it. Of these, only `additional_tools` are still sent.
    """
    kinds = [item.get("type") if isinstance(item, dict) else None for item in items]
    return max((index for index, pair in enumerate(pairwise(kinds)) if pair == (TRIGGER, "compaction")), default=-1)


def request_summary(chat: Json) -> Json:
    """Return a chat body that requests a summary of its conversation.

    The tools are kept: providers require them for calls in the history, and prompt caches depend on them.
    """
    kept = {name: value for name, value in chat.items() if name not in ("response_format", "logprobs", "top_logprobs")}
    kept["messages"] = [*chat["messages"], {"role": "user", "content": _PROMPT}]
    if kept.get("tools"):
        kept["tool_choice"] = "none"
    return kept


def compaction_item(id: str, summary: str) -> Json:
    """Return the item that replaces a conversation."""
    return {"id": id, "type": "compaction", "encrypted_content": encode_thinking([{"type": _KIND, "text": summary}])}


def read_summary(content: str, where: str) -> str:
    """Return the summary in an item's content, as text for the model. Raises `InvalidRequest` for content of a provider."""
    blocks = decode_thinking(content)
    if len(blocks) != 1 or blocks[0].get("type") != _KIND or not isinstance(blocks[0].get("text"), str):
        raise InvalidRequest(
            "This compaction was made by another provider, and only that provider can read it.", f"{where}.encrypted_content"
        )
    return _HEADING + str(blocks[0]["text"])


def kept_messages(items: Sequence[Mapping[str, Any]], name: str) -> list[Json]:
    """Return the user's messages among `items`, to be kept beside the compaction. New ids are derived from `name`."""
    kept = []
    for place, item in enumerate(items):
        if item.get("type", "message") == "message" and item.get("role") == "user":
            content = item["content"]
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
            id = item.get("id") or f"msg_{name}_in{place}"
            kept.append({**item, "id": id, "type": "message", "status": "completed", "content": parts})
    return kept
