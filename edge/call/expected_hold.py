"""The expected cost of a call, which it holds in a tight pool.

The tokens of the prompt are counted instead of estimated from bytes. The output is estimated from recent calls of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from edge.call.candidates import Candidate, extra_image_tokens
from edge.call.requests import max_non_text_tokens
from edge.call.stream_hold import PaidPrompt
from edge.services import Services
from shared.billing.elastic_hold import MESSAGE_TOKENS, UNKNOWN_OUTPUT_TOKENS, expected_cost, max_tokenizer_percent
from shared.dialects.base import ChatCall

# Fields of a body that become part of the prompt, in addition to its messages.
_PROMPT_FIELDS = ("tools", "functions", "response_format")
# Fields of a message that are not counted as JSON: content is counted as text, images by their number.
_NOT_JSON_FIELDS = ("role", "content", "images")


class ExpectedHold(NamedTuple):
    """The credits to hold, and the prompt that they pay for if the hold can grow (only of a stream)."""

    credits: int
    prompt: PaidPrompt | None


async def expected_hold(services: Services, call: ChatCall, candidates: Sequence[Candidate], bound: int) -> ExpectedHold:
    """Return the hold of `call`, enough for any of `candidates`. `bound` is the maximum, in credits."""
    sizes = services.output_sizes
    credits, tokens, percent, grows = 0, 0, 0, True
    for candidate in candidates:
        model = services.catalog.models.get(candidate.model)
        if model is None:  # removed from the catalog since the candidates were found
            return ExpectedHold(bound, None)
        # A hold can only grow if output is visible while it is generated: not hidden reasoning, and not without streaming.
        visible = call.stream and not candidate.quote.reasoning_tokens and not sizes.reasons(model)
        output = (sizes.typical(model) or UNKNOWN_OUTPUT_TOKENS) if visible else sizes.high(model)
        if output is None:
            return ExpectedHold(bound, None)
        percent = max(percent, max_tokenizer_percent(route.upstream_model for route in candidate.routes))
        tokens = max(tokens, await _input_tokens(services, call, candidate, percent))
        credits = max(credits, expected_cost(candidate.quote, tokens, output * call.choices))
        grows = grows and visible
    return ExpectedHold(credits, PaidPrompt(bound, tokens) if grows else None)


async def _input_tokens(services: Services, call: ChatCall, candidate: Candidate, percent: int) -> int:
    """Return the input tokens to hold for a tokenizer that makes `percent` tokens of 100 tokens in o200k_base."""
    counted = max([await services.token_counts.count(prompt_pieces(body)) for body in _bodies(call)])
    other_tokens = MESSAGE_TOKENS * len(call.body["messages"]) + max_non_text_tokens(call.body)
    if call.images:
        other_tokens += extra_image_tokens(call, candidate.routes)
    return min(-(-counted * percent // 100) + other_tokens, candidate.quote.input_bound)


def prompt_pieces(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield all text of a chat body that providers may count as input, message by message."""
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (text for part in content if (text := _text_of(part)))
        rest = {name: value for name, value in message.items() if name not in _NOT_JSON_FIELDS and value}
        if rest:
            yield orjson.dumps(rest).decode()
    for name in _PROMPT_FIELDS:
        if body.get(name):
            yield orjson.dumps(body[name]).decode()


def _text_of(part: Mapping[str, Any]) -> str:
    kind = part["type"]
    text = part.get(kind) if kind in ("refusal", "thinking") else part.get("text")
    return text if isinstance(text, str) else ""


def _bodies(call: ChatCall) -> Iterator[Mapping[str, Any]]:
    yield call.body
    if call.bodies_by_dialect is not None:
        yield from (body for body in call.bodies_by_dialect.values() if "messages" in body)
