"""Rewrites ids of tool calls to a format that the provider accepts. A call and its result keep the same id. Pure.

Ids in the messages are the caller's and may come from another provider. Only the request is changed; answers bring new ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

NEW_ID_LENGTH = 9  # length of a new id: Mistral's format, which fits everywhere
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def rewrite_ids(messages: Iterable[Mapping[str, Any]], pattern: str, *, invalid_characters: str | None = None) -> dict[str, str]:
    """Return new ids for those in `messages` that do not fully match `pattern`.

    `invalid_characters` matches characters that may be replaced by `_`, to keep ids readable. The result only depends on the ids.
    """
    ids = list(dict.fromkeys(_ids(messages)))
    taken = {id for id in ids if re.fullmatch(pattern, id)}
    if len(taken) == len(ids):
        return {}
    made: dict[str, str] = {}
    for id in ids:
        if id not in taken and id:
            made[id] = next(new for new in _candidates(id, invalid_characters) if new not in taken)
            taken.add(made[id])
    return made


def _ids(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        for call in message.get("tool_calls") or ():
            if isinstance(call.get("id"), str):
                yield call["id"]
        if isinstance(message.get("tool_call_id"), str):
            yield message["tool_call_id"]


def _candidates(id: str, unwanted: str | None) -> Iterator[str]:
    if unwanted is not None:
        yield re.sub(unwanted, "_", id)
    for attempt in count():
        number = int.from_bytes(hashlib.sha256(f"{attempt}:{id}".encode(errors="surrogatepass")).digest())
        letters = []
        for _ in range(NEW_ID_LENGTH):
            number, place = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[place])
        yield "".join(letters)
