"""What a call is expected to cost: the hold of a call in a tight pool.

The prompt is counted, not estimated from bytes; the output is what such calls have had lately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from edge.call.candidates import Candidate
from edge.call.requests import max_non_text_tokens
from edge.services import Services
from edge.store.output_sizes import OutputSizes
from shared.billing.elastic_hold import MESSAGE_TOKENS, UNKNOWN_OUTPUT_TOKENS, expected_cost, input_tokens
from shared.dialects.base import ChatCall

# Fields of a body that become part of the prompt, in addition to its messages.
_PROMPT_FIELDS = ("tools", "functions", "response_format")
_HEAVY_FIELDS = ("role", "content", "images")  # of a message: the others are counted as JSON


async def expected_hold(services: Services, call: ChatCall, candidate: Candidate) -> int:
    """Return the credits to hold for `call` if `candidate` serves it; the bound if nothing is known about its model."""
    output = _output_tokens(services.output_sizes, candidate)
    if output is None:
        return candidate.quote.bound
    return expected_cost(candidate.quote, await _input_tokens(services, call, candidate), output * call.choices)


def _output_tokens(sizes: OutputSizes, candidate: Candidate) -> int | None:
    """Return the output tokens to hold per choice, or None for the limit."""
    call = candidate.call
    if call.stream and not (candidate.quote.reasoning_tokens or sizes.reasons(call.model)):
        typical = sizes.typical(call.model)
        return UNKNOWN_OUTPUT_TOKENS if typical is None else typical
    return sizes.high(call.model)  # the tokens are not visible while the call runs


async def _input_tokens(services: Services, call: ChatCall, candidate: Candidate) -> int:
    """Return the input tokens to hold, whichever route serves the call."""
    if candidate.quote.costs.open_input:
        return candidate.quote.input_bound
    counted = max([await services.token_counts.count(prompt_pieces(body)) for body in _bodies(call)])
    other_tokens = MESSAGE_TOKENS * len(call.body["messages"]) + max_non_text_tokens(call.body)
    names = {route.upstream_model for route in candidate.routes}
    return input_tokens(counted, names, other_tokens=other_tokens, ceiling=call.input_bound)


def prompt_pieces(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield all text of a chat body that providers may count as input, message by message."""
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (text for part in content if (text := _text_of(part)))
        rest = {name: value for name, value in message.items() if name not in _HEAVY_FIELDS and value}
        if rest:
            yield orjson.dumps(rest).decode()
    for name in _PROMPT_FIELDS:
        if body.get(name):
            yield orjson.dumps(body[name]).decode()


def _text_of(part: Mapping[str, Any]) -> str:
    text = part.get(part["type"])
    return text if part["type"] in ("text", "refusal", "thinking") and isinstance(text, str) else ""


def _bodies(call: ChatCall) -> Iterator[Mapping[str, Any]]:
    yield call.body
    if call.bodies_by_dialect is not None:
        yield from (body for body in call.bodies_by_dialect.values() if "messages" in body)
