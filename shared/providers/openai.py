"""The `openai` dialect: chat completions as OpenAI and all who copy it speak them.

A channel's `settings` may hold these quirks of its vendor:

    body            object merged into every request body, e.g. {"store": false, "provider": {"data_collection": "deny"}}
    headers         object of extra request headers, e.g. {"x-no-log": "1"}
    max_tokens      "max_tokens" or "max_completion_tokens": the only one the vendor knows; otherwise the caller's choice is kept
    stream_usage    false where the vendor refuses `stream_options`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from shared.providers.base import Answer, ChatCall, MalformedStream, Target, VendorError, VendorRequest
from shared.providers.openai_stream import OpenAIStream
from shared.usage import read_openai_usage

LONGEST_MESSAGE = 600
_IDENTITY_FIELDS = ("user", "safety_identifier")
# What must never reach a caller: keys, addresses, organisation and project ids.
_SECRETS = re.compile(
    r"https?://\S+|\b(?:sk|pk|org|proj|key|yout)[-_][\w\-*.]{4,}|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|[\w.+-]+@[\w-]+\.[\w.]+",
    re.IGNORECASE,
)


class OpenAIDialect:
    """See the module."""

    def request(self, call: ChatCall, target: Target) -> VendorRequest:
        """The vendor's request for `call`: model renamed, usage asked for, identity replaced, output clamped."""
        route = target.route
        body = {**call.body, "model": route.upstream_model}
        settings = route.settings
        if call.stream and settings.get("stream_usage", True):
            body["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
        elif "stream_options" in body:
            del body["stream_options"]
        _pseudonymise(body, target)
        if body.get("store"):
            body["store"] = False  # content is not kept, here or there
        _limit_output(body, target.clamp, settings.get("max_tokens"))
        if settings.get("body"):
            body.update(settings["body"])
        return VendorRequest("POST", f"{route.base_url}/chat/completions", _headers(target), orjson.dumps(body))

    def read_answer(self, data: bytes, call: ChatCall) -> Answer:
        """Read a whole chat completion. Raises `MalformedStream` when it is none."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise MalformedStream("no choices")
        body["model"] = call.model
        body.setdefault("object", "chat.completion")
        text, delivered = _delivered(body["choices"])
        return Answer(body, read_openai_usage(body.get("usage")), text, delivered)

    def read_stream(self, call: ChatCall, fallback_id: str) -> OpenAIStream:
        """A reader for one stream; `fallback_id` replaces an id that is not `chatcmpl-…`."""
        return OpenAIStream(call.model, fallback_id)

    def read_error(self, status: int, data: bytes) -> VendorError:
        """Read an error answer. 400, 413 and 422 are about the request, and so is a 404 that is not about the model."""
        error = _error_object(data)
        message, param, code = (error.get(name) for name in ("message", "param", "code"))
        if status not in (400, 413, 422) or not isinstance(message, str):
            return VendorError(status in (400, 413, 422), None, None, None)
        return VendorError(True, scrub(message), _short(param), _short(code))


OPENAI = OpenAIDialect()


def scrub(message: str) -> str:
    """A vendor's message without keys, hosts and account details, at most `LONGEST_MESSAGE` characters."""
    return _SECRETS.sub("[removed]", message)[:LONGEST_MESSAGE]


def _headers(target: Target) -> tuple[tuple[str, str], ...]:
    headers = {"content-type": "application/json", "accept": "*/*", "user-agent": "yout", "http-referer": target.referer}
    if target.secret:
        headers["authorization"] = f"Bearer {target.secret}"
    extra: Mapping[str, str] = target.route.settings.get("headers") or {}
    headers.update({name.lower(): value for name, value in extra.items()})
    return tuple(headers.items())


def _pseudonymise(body: dict[str, Any], target: Target) -> None:
    for name in _IDENTITY_FIELDS:
        if body.get(name) is not None:
            body[name] = target.pseudonym(str(body[name]))
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and "user_id" in metadata:
        body["metadata"] = {**metadata, "user_id": target.pseudonym(str(metadata["user_id"]))}


def _limit_output(body: dict[str, Any], clamp: int | None, only: str | None) -> None:
    """Lower the caller's output limit to `clamp`, under the field they used; and use the vendor's field where it has but one."""
    field = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    limit = body.get(field)
    if clamp is not None:
        limit = clamp if limit is None else min(limit, clamp)
    if limit is not None:
        for name in ("max_tokens", "max_completion_tokens"):
            body.pop(name, None)
        body[only or field] = limit


def _error_object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(body, list) and body:  # some vendors wrap the object in a list
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else {}
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _short(value: object) -> str | None:
    return value[:64] if isinstance(value, str) else None


def _delivered(choices: list[Any]) -> tuple[str, bool]:
    """The text of all choices, and whether anything at all was delivered (a tool call or audio counts)."""
    pieces: list[str] = []
    other = False
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            if isinstance(message.get(name), str):
                pieces.append(message[name])
        if message.get("tool_calls"):
            pieces.append(orjson.dumps(message["tool_calls"]).decode())
        other = other or bool(message.get("audio") or message.get("function_call") or isinstance(message.get("content"), list))
    text = "".join(pieces)
    return text, bool(text) or other
