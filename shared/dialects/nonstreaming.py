"""Common part of dialects whose answers are never streamed. Pure."""

from __future__ import annotations

from typing import ClassVar, NoReturn

import orjson

from shared.dialects.base import ChatCall, ProviderError, ProviderRequest, Target
from shared.dialects.identity import pseudonymize
from shared.dialects.openai import read_openai_error, request_headers


class NonStreamingDialect:
    """Base class of dialects without streaming: their endpoints reject `stream`. `path` follows the channel's base URL."""

    path: ClassVar[str]

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest:
        """Return the provider's request for `call`, with its model name, pseudonyms for user ids, and the channel's fields."""
        body = {**call.body, "model": target.route.upstream_model}
        pseudonymize(body, target)
        body.update(target.route.settings.get("body") or {})
        url = f"{target.route.base_url}{self.path}"
        return ProviderRequest("POST", url, request_headers(target), orjson.dumps(body), tuple(body))

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> NoReturn:
        """Never called; completes the `Dialect` interface."""
        raise NotImplementedError(f"calls of the kind {call.kind} never stream")

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error, as for chats."""
        return read_openai_error(status, data, call.model, target)
