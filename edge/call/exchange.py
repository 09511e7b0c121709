"""The exchange: one generator that runs the steps of a call in order, streaming or not.

    caller → catalog, quotes → admit (limits, hold) → upstream → settle

It yields bytes to relay, then `Finished`. `responses` renders them as HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple
from uuid import UUID

from edge.call import upstream
from edge.call.admission import Admission, Caller
from edge.call.alternatives import complete_refusal
from edge.call.call_state import CallState
from edge.call.candidates import find_candidates, max_quote
from edge.services import Services
from shared.billing.token_usage import TokenUsage
from shared.core.errors import InsufficientCredits, RequestRefused
from shared.core.token_bucket import RateLimitState
from shared.dialects.base import ChatCall
from shared.ledger import Settled


class Admitted(NamedTuple):
    """The call was admitted: the first event. `hold` will have the channel that serves the call."""

    rate_limit_status: RateLimitState
    state: CallState


class Finished(NamedTuple):
    """The response is complete and paid for. `body` is a chat completion, or the stream's last chunk with its `frame`."""

    body: dict[str, Any]
    frame: dict[str, Any]
    usage: TokenUsage
    settled: Settled


async def exchange(
    services: Services, call_id: UUID, caller: Caller, call: ChatCall, max_credits: int | None
) -> AsyncGenerator[Admitted | bytes | Finished, None]:
    """Serve one call. `max_credits` is the caller's own limit in credits. Raises the errors of `shared.core.errors`."""
    try:
        candidates = find_candidates(services.catalog, call, max_credits)
    except RequestRefused as refusal:
        refused = await services.keys.key_error_or(caller.payer, refusal)
        if isinstance(refused, InsufficientCredits):  # `max_credits` does not cover the call
            await complete_refusal(services, call, refused, caller.payer)
        raise refused from None
    admission = Admission(services, call_id, caller, call, max_quote(candidates, max_credits))
    async with admission as state:
        assert admission.permit is not None  # noqa: S101  (set by `__aenter__`)
        yield Admitted(admission.permit.rate_limit_state, state)
        if call.stream:
            # Closed explicitly: otherwise the upstream would keep working until garbage collection.
            async with aclosing(upstream.relay_stream(services, candidates, state)) as relays:
                async for relay in relays:
                    state.mark_relayed()
                    yield relay
            assert state.reader is not None  # noqa: S101  (set by a completed stream)
            state.mark_relayed()
            body, frame = state.reader.final_chunk(), state.reader.chunk_fields()
        else:
            await upstream.fetch_completion(services, candidates, state)
            assert state.answer is not None  # noqa: S101  (set by `answer`)
            state.mark_relayed()
            body, frame = state.answer.body, {}
        settled = await admission.settle()
    if state.remaining_bytes:
        yield state.remaining_bytes  # after the settlement, so that a slow client does not keep credits held
    yield Finished(body, frame, admission.usage, settled)
