"""Meanings of the fields of responses and of URL parameters, and sample values, by name. Pure.

Fields of request bodies are described in their types (`edge.http.body_types`). A field that means something else in one operation
has an entry of its own, under the operation's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_ID = "0193a5b2-7c1e-7d2a-9b1f-4f2f6f1c9a10"
_TIME = "2026-11-30T09:30:00.000Z"
_UNIX = 1_796_031_000
_NONE: Any = object()  # no sample: the value is made from the schema


class Meaning(NamedTuple):
    """What a field means, and a typical value."""

    text: str
    sample: Any = _NONE


_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
_PRICING = {
    "prompt": "0.00000015",
    "completion": "0.0000006",
    "credits_per_1k_input": 150,
    "credits_per_1k_output": 600,
    "credits_per_call": 0,
}
_LIMITS = {
    **{"rpm": 60, "tpm": 100_000, "concurrency": 4, "monthly_credit_limit": None, "daily_credit_limit": None},
    **{"allowed_models": None, "allowed_ips": None},
}
_RATE_LIMITS = {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4}

FIELDS: Mapping[str, Meaning] = {
    "account": Meaning("Id of the account.", _ID),
    "accounts": Meaning("The accounts, oldest first."),
    "alias_of": Meaning("Id of the model that this name stands for."),
    "architecture": Meaning(
        "Input and output modalities.", {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]}
    ),
    "available": Meaning("Whether the caller may use the model.", True),
    "balance": Meaning("Remaining credits after the call.", 499_987),
    "budgets": Meaning("The budgets, oldest first."),
    "by": Meaning("How the rows are grouped."),
    "cached_tokens": Meaning("Input tokens that were read from the provider's cache; included in `input_tokens`.", 0),
    "calls": Meaning("Number of calls.", 42),
    "can_manage": Meaning("Whether the key may manage keys and delete data.", False),
    "canonical_slug": Meaning("Id of the model.", "gpt-4o-mini"),
    "capabilities": Meaning("Features of the model.", ["tools", "vision"]),
    "certificate": Meaning("The signed certificate of what was deleted; null until the purge is done.", None),
    "channels": Meaning("The channels, oldest first."),
    "cheaper_models": Meaning("Models that the available credits can pay for.", [{"id": "small-model", "worst": 120}]),
    "choices": Meaning(
        "The answers. Streams send deltas of them.",
        [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
    ),
    "completed_at": Meaning("When the job ended, in Unix seconds; null while it runs.", None),
    "content": Meaning("Content of the message.", "How do tides work?"),
    "context_length": Meaning("Maximum tokens of prompt and answer; null if unknown.", 128_000),
    "context_window": Meaning("Maximum tokens of prompt and answer; null if unknown.", 128_000),
    "conversation_id": Meaning("Id of the stored conversation; null if it is not stored.", None),
    "conversations": Meaning("The conversations, latest first."),
    "created": Meaning("When it was created.", _UNIX),
    "created_at": Meaning("When it was created.", _UNIX),
    "created_by": Meaning("Id of the key that created this key; null for keys created by a person.", None),
    "credits": Meaning("Credits charged.", 546),
    "credits_charged": Meaning("Credits charged for the call.", 13),
    "credits_cost": Meaning("Credits held for the job; charged when it succeeds.", 40_000),
    "credits_per_usd": Meaning("Credits that are shown as 1 USD.", 1_000_000),
    "daily_allowance": Meaning("Credits that a visitor may use per UTC day.", 1_000),
    "data": Meaning("The results."),
    "database": Meaning("Whether the database responds.", True),
    "database_writes": Meaning("Whether the database accepts writes.", True),
    "day": Meaning("UTC day, when grouped by day.", "2026-11-30"),
    "delete_url": Meaning("URL that revokes the share.", "https://api.example.com/api/chat/share/AAAAAAAAAAAAAAAAAAAAAA/"),
    "deleted": Meaning("Whether it was deleted.", True),
    "deprecation": Meaning("Dates of a name that will be shut down, and its successor; null if it is not deprecated."),
    "description": Meaning("Description of the model.", "Fast and inexpensive."),
    "display_name": Meaning("Name of the model.", "gpt-4o-mini"),
    "email": Meaning("Whether members who manage payments get an email.", True),
    "entries": Meaning("The entries, oldest first."),
    "error": Meaning("Why it failed; null if it did not.", None),
    "expires_at": Meaning("When it expires; null if never.", None),
    "failed": Meaning("Number of calls that failed.", 0),
    "finished": Meaning("When it ended; null while it runs.", None),
    "first_id": Meaning("Id of the first result; null if there are none.", None),
    "fits": Meaning("Whether the available credits can pay for the call.", True),
    "free": Meaning("Whether visitors without an account may use the model.", False),
    "from": Meaning("First UTC day of the report.", "2026-11-01"),
    "generated_at": Meaning("When the document was made."),
    "has_more": Meaning("Whether more results follow.", False),
    "heads": Meaning("Signed seals of the ledger, the oldest first.", []),
    "held": Meaning("Credits reserved for running calls.", 0),
    "id": Meaning("Id of the object.", _ID),
    "input_modalities": Meaning("What the model takes as input.", ["text", "image"]),
    "input_tokens": Meaning("Input tokens, including cached ones.", 7),
    "issuer": Meaning("URL of the installation.", "https://yout.example"),
    "job_uuid": Meaning("Id of the job.", _ID),
    "jobs": Meaning("The jobs, latest first."),
    "key": Meaning("Id of the key, when grouped by key; null for web sessions.", _ID),
    "key_name": Meaning("Name of the key, when grouped by key.", "production"),
    "keys": Meaning("The keys."),
    "kind": Meaning("Kind of the object."),
    "last_id": Meaning("Id of the last result; null if there are none.", None),
    "last_used": Meaning("When the key was last used; null if never. After that call is deleted, the start of its day.", None),
    "ledger": Meaning("The latest seal of the ledger, with `state` and `check`.", {"state": "valid"}),
    "left_this_month": Meaning("Credits that the key may still spend this month; null if it has no monthly limit.", None),
    "limits": Meaning("The key's own limits; null values mean that the account's apply.", _LIMITS),
    "max_completion_tokens": Meaning("Maximum output tokens; null if unknown.", 16_384),
    "max_output_tokens": Meaning("Maximum output tokens; null if unknown.", 16_384),
    "member": Meaning("Id of the member whose key or session it is; the first owner's is the account's id.", _ID),
    "member_email": Meaning("Email address of the member, when grouped by member.", "ada@example.com"),
    "members": Meaning("The members, in the order of their ids."),
    "message_count": Meaning("Number of messages.", 2),
    "messages": Meaning("The messages, oldest first."),
    "meta": Meaning("Billed units.", {"billed_units": {"search_units": 1}}),
    "modality": Meaning("Input and output, as `text+image->text`.", "text->text"),
    "model": Meaning("The model.", "gpt-4o-mini"),
    "models": Meaning("The models."),
    "name": Meaning("Name of the object.", "production"),
    "next": Meaning("Value of `after` for the next page; null on the last one.", None),
    "object": Meaning("Type of the object."),
    "output": Meaning(
        "Items of the answer.",
        [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello there."}]}],
    ),
    "output_tokens": Meaning("Output tokens, including reasoning.", 3),
    "output_url": Meaning("Signed link to the first output; null until the job succeeds.", None),
    "outputs": Meaning("The files, with signed links, media types and sizes.", []),
    "owned_by": Meaning("Provider of the model.", "OpenAI"),
    "parent": Meaning("Position of the message before this one, -1 if there is none; null on the main branch.", None),
    "percents": Meaning("Percentages of the amount at which it alerts.", [50, 80, 100]),
    "period": Meaning("Calendar month or day (UTC) that is counted; null for the balance.", "month"),
    "plan": Meaning("The account's plan; null without one.", None),
    "plans": Meaning("The plans, oldest first."),
    "prefix": Meaning("The first characters of the key, which identify it.", "yout-Ab3x"),
    "prices": Meaning("The prices, oldest first."),
    "pricing": Meaning("Prices: in credits per 1,000 tokens, and in USD per token.", _PRICING),
    "progress": Meaning("Progress in percent.", 0),
    "prompt_tokens": Meaning("Input tokens.", 7),
    "proofs": Meaning("The last signed report of each proof, with `state` and `check`.", []),
    "provider": Meaning("Provider of the model.", "OpenAI"),
    "providers": Meaning("Channels that get calls, by their public names.", []),
    "rate_limits": Meaning("The caller's rate limits.", _RATE_LIMITS),
    "redis": Meaning("Whether Redis responds.", True),
    "remaining": Meaning("Credits that remain today.", 987),
    "renews_at": Meaning("When the plan's next period starts; null if it has none.", _TIME),
    "removed": Meaning("Number of deleted rows and files, by kind.", {"messages": 12, "shares": 1}),
    "request_id": Meaning("Id of the call, as in its `x-request-id` header.", "req_0193a5b27c1e7d2a9b1f4f2f6f1c9a10"),
    "required": Meaning("Credits that must be available for the call.", 129),
    "resets_at": Meaning("When the allowance resets.", _TIME),
    "results": Meaning("The results."),
    "retention": Meaning("How long data is kept: for `days`, or `until` an event.", []),
    "revoked": Meaning("Whether it is revoked.", True),
    "revoked_at": Meaning("When the key was revoked.", _TIME),
    "role": Meaning("Author of the message.", "user"),
    "routes": Meaning("The routes, oldest first."),
    "rows": Meaning("One row per group."),
    "scope": Meaning("What is counted, or `balance`.", "key"),
    "secret": Meaning("The secret. It is shown only in this response.", "yout-…"),
    "shares": Meaning("The shares, latest first."),
    "shutdown": Meaning("When calls to this id will start to be refused; null if no shutdown is planned."),
    "since": Meaning("Since when the name is deprecated."),
    "slug": Meaning("Id of the share, at the end of its URL.", "AAAAAAAAAAAAAAAAAAAAAA"),
    "spent": Meaning("Credits spent in the period, or the balance, at the last comparison; null before the first.", 850_000),
    "spent_at": Meaning("When spending was compared last.", _TIME),
    "spent_this_month": Meaning("Credits that the key has spent this month.", 546),
    "spent_total": Meaning("Credits that the key has spent.", 546),
    "status": Meaning("State of the object."),
    "step": Meaning("What the purge is doing; null when it is not running.", None),
    "stopped": Meaning("`credits` if the answer was cut off because no credits were left."),
    "successor": Meaning("The name to use instead."),
    "supported_parameters": Meaning("Fields of a chat request that the model supports.", ["temperature", "tools"]),
    "tag": Meaning("The tag, when grouped by tag; null for calls without one.", "search"),
    "tags": Meaning("Features of the model.", ["tools", "vision"]),
    "target": Meaning("Id of the member or key, or the tag; null for the account and its balance.", _ID),
    "text": Meaning("The transcript.", "Hello there."),
    "title": Meaning("Title of the conversation.", "Tides"),
    "to": Meaning("Last UTC day of the report.", "2026-11-30"),
    "tokens": Meaning("Token counts by kind.", {"input": 7, "cached_input": 0, "output": 3, "reasoning": 0, "estimated": False}),
    "total": Meaning("Sums over all rows."),
    "total_tokens": Meaning("Input and output tokens.", 10),
    "type": Meaning("Type of the object."),
    "typical": Meaning("Credits that such a call usually costs, from your recent calls of the model.", 13),
    "updated": Meaning("When it was last changed.", _TIME),
    "url": Meaning("Public URL.", "https://api.example.com/c/AAAAAAAAAAAAAAAAAAAAAA"),
    "usage": Meaning("Token counts of the call, as they were charged.", _USAGE),
    "used": Meaning("Credits used today.", 13),
    "webhook_format": Meaning("Format of the webhook."),
    "webhook_url": Meaning("URL that gets a webhook; null for none.", "https://hooks.example.com/yout"),
    "worst": Meaning("Maximum cost of the call in credits: the amount that is held.", 246),
    "yout": Meaning("Cost of the call in credits, and the remaining balance."),
}

PARAMETERS: Mapping[str, str] = {
    "after": "Return results after this id: the `next` of the previous page.",
    "after_id": "Return models after this id.",
    "before_id": "Return models before this id.",
    "branches": "`true` for the messages of all branches. Default: those of the main branch.",
    "budget_id": "Id of the budget.",
    "by": "Group by day, model, key or tag.",
    "conversation_id": "Id of the conversation.",
    "expires": "From the signed link.",
    "format": "`json` or `csv`.",
    "from": "First UTC day, such as `2026-11-01`.",
    "id": "Id of the object.",
    "key_id": "Id of the key.",
    "kind": "Only jobs of this kind.",
    "limit": "Maximum number of results.",
    "model_id": "Id or alias of the model; may contain slashes.",
    "order": "`asc` for the oldest first, `desc` for the latest first.",
    "price_id": "Id of the price.",
    "purge_id": "Id of the purge.",
    "route_id": "Id of the route.",
    "signature": "From the signed link.",
    "since": "Number of the first seal.",
    "slug": "Id of the share.",
    "start": "Position of the first message, from 0.",
    "status": "Only jobs in this state.",
    "stream": "`1` sends the job's changes as server-sent events.",
    "to": "Last UTC day, included.",
    "wait": "Seconds to wait for a call that is still running.",
    "variant": "Which file to download.",
}

_COST = {"credits_charged": 13, "balance": 499_987}
_VIDEO = {"id": "video_1", "model": "video-model"}
_MODEL = {
    "id": "gpt-4o-mini",
    "object": "model",
    "created": _UNIX,
    "owned_by": "OpenAI",
    "description": "Fast and inexpensive.",
    "context_length": 128_000,
    "supported_parameters": ["temperature", "tools"],
    "pricing": _PRICING,
    "kind": "chat",
    "capabilities": ["tools", "vision"],
    "free": False,
}
# Values of single fields that differ from those above, by operation.
SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "get_api_usage": {"day": "2026-11-30"},
    "delete_api_admin_accounts_account_id": {"name": "Ada", "status": "closed"},
    "get_api_admin_accounts_account_id": {"name": "Ada"},
    "patch_api_admin_accounts_account_id": {"name": "Ada"},
    "post_api_admin_accounts": {"name": "Ada"},
    "get_api_receipts_id": {"status": "completed"},
    "get_api_media_jobs": {"model": "image-model"},
    "get_api_media_jobs_id": {"model": "image-model"},
    "post_api_media_jobs_id_cancel": {"model": "image-model", "status": "cancelled", "finished": _TIME},
    "get_api_chat_models": {"id": "gpt-4o-mini", "name": "gpt-4o-mini", "kind": "chat"},
    "get_v1_models": {"data": [_MODEL]},
    "get_v1_models_model_id": _MODEL,
    "get_readyz": {"models": 12},
    "post_api_quote": {"models": []},
    "post_v1_chat_completions": {"id": "chatcmpl-1", "object": "chat.completion"},
    "post_v1_completions": {
        "id": "cmpl-1",
        "choices": [{"index": 0, "text": "Hello there.", "logprobs": None, "finish_reason": "stop"}],
    },
    "post_v1_embeddings": {
        "model": "embedding-model",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
    },
    "post_v1_images_generations": {"data": [{"url": "https://api.example.com/api/media/files/…"}], "yout": _COST},
    "post_v1_images_edits": {"data": [{"b64_json": "iVBORw0KGgo…"}], "yout": _COST},
    "post_v1_images_variations": {"data": [{"b64_json": "iVBORw0KGgo…"}], "yout": _COST},
    "post_v1_messages": {"id": "msg_1", "content": [{"type": "text", "text": "Hello there."}]},
    "post_v1_moderations": {"id": "modr-1", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]},
    "post_v1_rerank": {
        "id": "rerank-1",
        "model": "rerank-model",
        "results": [{"index": 0, "relevance_score": 0.93}, {"index": 1, "relevance_score": 0.04}],
    },
    "post_v2_rerank": {
        "id": "rerank-1",
        "model": "rerank-model",
        "results": [{"index": 0, "relevance_score": 0.93}, {"index": 1, "relevance_score": 0.04}],
    },
    "post_v1_responses": {"id": "resp_1", "status": "completed"},
    "post_v1_responses_compact": {"id": "resp_1", "output": [{"type": "compaction", "encrypted_content": "…"}]},
    "get_v1_responses_id": {"id": "resp_1", "status": "completed"},
    "delete_v1_videos_id": {"id": "video_1"},
    "delete_v1_responses_id": {"id": "resp_1"},
    "get_v1_responses_id_input_items": {"data": [{"id": "msg_1", "type": "message"}]},
    "get_v1_videos": {
        **_VIDEO,
        "progress": 100,
        "completed_at": _UNIX,
        "yout": {"credits_held": 0, "credits_charged": 1_200_000},
    },
    "post_v1_videos": {**_VIDEO, "status": "queued", "yout": {"credits_held": 1_200_000, "credits_charged": 0}},
    "get_v1_videos_id": {
        **_VIDEO,
        "progress": 100,
        "completed_at": _UNIX,
        "yout": {"credits_held": 0, "credits_charged": 1_200_000},
    },
}
# Server-sent events of streams, by operation.
_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": _UNIX, "model": "gpt-4o-mini"}
STREAMS: Mapping[str, Iterable[Mapping[str, Any] | str]] = {
    "post_v1_chat_completions": (
        {**_CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
        {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "yout": _COST},
        "[DONE]",
    ),
    "post_api_chat_stream": (
        {"delta": "Hello"},
        {"delta": " there."},
        {"done": True, "finish_reason": "stop", "usage": _USAGE, **_COST, "conversation_id": None},
    ),
}


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a response schema with the meaning of each field that has none of its own."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {
            name: {**({"description": FIELDS[name].text} if name in FIELDS else {}), **describe(value)}
            for name, value in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        found["items"] = describe(schema["items"])
    if "anyOf" in schema:
        found["anyOf"] = [describe(value) for value in schema["anyOf"]]
    return found


def sample(operation: str, schema: Mapping[str, Any]) -> Any:
    """Return an example of a JSON response: a typical value of each field."""
    return _value(schema, SAMPLES.get(operation, {}), _NONE)


def stream_sample(operation: str) -> str | None:
    """Return an example of a response as server-sent events, or None."""
    events = STREAMS.get(operation)
    if events is None:
        return None
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in events)


def _value(schema: Mapping[str, Any], own: Mapping[str, Any], typical: Any) -> Any:
    if typical is not _NONE and _fits(typical, schema):
        return typical
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], own, typical)
    if "properties" in schema:
        return {
            name: _value(value, own, own.get(name, FIELDS[name].sample if name in FIELDS else _NONE))
            for name, value in schema["properties"].items()
            if name in schema.get("required", ()) or name in own
        }
    match _kinds(schema):
        case ["array", *_]:
            return [_value(schema["items"], own, _NONE)] if schema.get("items") else []
        case ["integer" | "number", *_]:
            return schema.get("minimum", 1)
        case ["boolean", *_]:
            return True
        case ["object", *_]:
            return {}
    return {"uuid": _ID, "date-time": _TIME, "date": _TIME[:10]}.get(schema.get("format", ""), "…")


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", "string")
    return [kinds] if isinstance(kinds, str) else list(kinds)


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a typical value has the schema's type. Objects with declared fields are made from their fields."""
    if "anyOf" in schema:
        return any(_fits(value, one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", (schema.get("const"),))
    if "properties" in schema and isinstance(value, dict):
        return set(schema.get("required", ())) <= value.keys()
    if "type" not in schema:
        return True
    named = isinstance(value, str) and schema.get("format") in ("uuid", "date-time", "date")
    if named and schema["format"] != {36: "uuid", 24: "date-time", 10: "date"}.get(len(value)):
        return False
    return any(isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in _kinds(schema))
