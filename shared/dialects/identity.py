"""Removes a caller's identifiers from a request: providers get pseudonyms where they need a value, and nothing else. Pure."""

from __future__ import annotations

from typing import Any

from shared.dialects.base import Target

IDENTITY_FIELDS = ("user", "safety_identifier")
CACHE_KEY = "prompt_cache_key"


def pseudonymize(body: dict[str, Any], target: Target) -> None:
    """Replace identifiers in `body`, in place.

    Ids of users become pseudonyms, in the channel's field `identity` if it has one. So does the key of the prompt cache, which
    clients derive from ids of users and sessions. Of `metadata` only `user_id` is sent, the rest is free text.
    """
    own = target.route.settings.get("identity")
    for name in IDENTITY_FIELDS:
        if body.get(name) is not None:
            body[own or name] = target.pseudonym(str(body.pop(name)))
    if body.get(CACHE_KEY) is not None:
        body[CACHE_KEY] = target.pseudonym(f"{CACHE_KEY}:{body[CACHE_KEY]}")  # differs from the pseudonym of a user of that name
    if "metadata" in body:
        metadata = body.pop("metadata")
        if isinstance(metadata, dict) and metadata.get("user_id") is not None:
            body["metadata"] = {"user_id": target.pseudonym(str(metadata["user_id"]))}
