"""Replaces a caller's identifiers in a request by pseudonyms, or removes them. Pure."""

from __future__ import annotations

from typing import Any

from shared.dialects.base import Target

IDENTITY_FIELDS = ("user", "safety_identifier")
CACHE_KEY = "prompt_cache_key"
_FIELDS = frozenset({*IDENTITY_FIELDS, CACHE_KEY, "metadata"})


def pseudonymize(body: dict[str, Any], target: Target) -> None:
    """Replace identifiers in `body`, in place.

    User ids become pseudonyms, in the field that the channel setting `identity` names, if any. So does the prompt cache key,
    because clients derive it from user and session ids. Only `user_id` is kept in `metadata`: the rest is free text.
    """
    if _FIELDS.isdisjoint(body):
        return
    own = target.route.settings.get("identity")
    for name in IDENTITY_FIELDS:
        if body.get(name) is not None:
            body[own or name] = target.pseudonym(str(body.pop(name)))
    if body.get(CACHE_KEY) is not None:
        body[CACHE_KEY] = target.pseudonym(f"{CACHE_KEY}:{body[CACHE_KEY]}")  # not the pseudonym of a user with this id
    if "metadata" in body:
        metadata = body.pop("metadata")
        if isinstance(metadata, dict) and metadata.get("user_id") is not None:
            body["metadata"] = {"user_id": target.pseudonym(str(metadata["user_id"]))}
