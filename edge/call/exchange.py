"""The exchange: one generator that runs the steps of a call in order, streaming or not.

    caller → catalog, quotes → admit (limits, hold) → upstream → settle

It yields bytes to relay, then `Finished`. `responses` renders them as HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID

from msgspec import Struct

from edge.call.admission import Admission, Caller
from edge.call.alternatives import complete_refusal
from edge.call.candidates import find_candidates
from edge.call.upstream import Completed
from edge.http.errors import error_spec
from edge.services import Services
from edge.store.inflight import InflightCall
from shared.billing.token_usage import TokenUsage
from shared.core.errors import InsufficientCredits, RequestRefused
from shared.core.token_bucket import RateLimitState
from shared.dialects.base import ChatCall
from shared.ledger import Settled


class Admitted(Struct, frozen=True, gc=False):
    """The call was admitted: the first event.

    `routing` returns the headers about the channel that serves the call; empty until it is known. `admission` has the settlement
    of a call that does not complete.
    """

    rate_limit_status: RateLimitState
    routing: Callable[[], list[tuple[bytes, bytes]]]
    admission: Admission


class Finished(Struct, frozen=True, gc=False):
    """The response is complete and paid for. `body` is a chat completion, or the stream's last chunk with its `frame`.

    `cost_usd` is the charge in USD, if the call requested it. `stopped` is "credits" if the stream was ended because its hold
    could not be extended.
    """

    body: dict[str, Any]
    frame: dict[str, Any]
    usage: TokenUsage
    settled: Settled
    cost_usd: float | None = None
    stopped: str | None = None


async def exchange(
    services: Services, running: InflightCall, call_id: UUID, caller: Caller, call: ChatCall, max_credits: int | None
) -> AsyncGenerator[Admitted | bytes | Finished, None]:
    """Serve the `running` call. `max_credits` is the caller's own limit in credits. Raises the errors of `shared.core.errors`."""
    try:
        candidates = find_candidates(services.catalog, call, max_credits)
    except RequestRefused as refusal:
        refused = await services.keys.key_error_or(caller.payer, refusal)
        if isinstance(refused, InsufficientCredits):  # `max_credits` does not cover the call
            await complete_refusal(services, call, refused, caller.payer)
        model = services.catalog.model_id(call.model)
        known = model if model in services.catalog.models else ""
        services.metrics.record_refusal(caller.surface, known, error_spec(refused).code)
        raise refused from None
    completed: Completed | None = None
    admission = Admission(services, running, call_id, caller, call, candidates, max_credits)
    async with admission as upstream:
        yield Admitted(admission.rate_limit_state, upstream.routing, admission)
        if call.stream:
            # Closed explicitly: otherwise the upstream would keep generating until garbage collection.
            async with aclosing(upstream.stream()) as relays:
                async for relay in relays:
                    if isinstance(relay, Completed):
                        completed = relay
                    else:
                        yield relay
        else:
            completed = await upstream.answer()
        assert completed is not None  # noqa: S101  (the last event of a stream)
        usage, settled = await admission.settle()
    if completed.remaining_bytes:
        yield completed.remaining_bytes  # after the settlement, so that a slow client does not keep credits held
    cost_usd = settled.credits / services.settings.credits_per_usd if call.include_cost else None
    yield Finished(completed.body, completed.frame, usage, settled, cost_usd, completed.stopped)
