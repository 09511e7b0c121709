"""Moderations in OpenAI's format. Pure.

A channel's `settings` are those of the `openai` dialect (`body`, `headers`, `key_header`).
"""

from __future__ import annotations

import orjson

from shared.billing.token_usage import read_openai_usage
from shared.dialects.base import Answer, ChatCall, MalformedStream
from shared.dialects.nonstreaming import NonStreamingDialect
from shared.text.json_depth import is_too_deep


class Moderations(NonStreamingDialect):
    """A `Dialect` for calls of the kind `moderation`. `call.choices` is the number of inputs, which get separate results."""

    path = "/moderations"

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:  # noqa: ARG002  (unused: the answer has no time)
        """Parse a result for each input. Replaces an id that is not `modr-…`. Raises `MalformedStream` for invalid data."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        results = body.get("results") if isinstance(body, dict) else None
        if not isinstance(results, list) or len(results) != call.choices or not all(isinstance(item, dict) for item in results):
            raise MalformedStream("the number of results differs from the number of inputs")
        if not all(isinstance(item.get("categories"), dict) for item in results):
            raise MalformedStream("a result without categories")
        if is_too_deep(data, body):
            raise MalformedStream("nested too deeply to be relayed")
        if not (isinstance(body.get("id"), str) and body["id"].startswith("modr-")):
            body["id"] = f"modr-{call_id.removeprefix('chatcmpl-')}"
        body["model"] = call.model
        return Answer(body, read_openai_usage(body.get("usage")), "", delivered=True)


MODERATIONS = Moderations()
