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
from edge.call.alternatives import cheaper_models
from edge.call.call_state import Hold
from edge.call.candidates import dearest, offers_for
from edge.services import Services
from shared.billing.token_usage import Usage
from shared.core.errors import InsufficientCredits, RequestRefused
from shared.core.token_bucket import Standing
from shared.dialects.base import ChatCall
from shared.ledger import Settled


class Admitted(NamedTuple):
    """The call was admitted: the first event. `hold` will have the channel that serves the call."""

    standing: Standing
    hold: Hold


class Finished(NamedTuple):
    """The response is complete and paid for. `body` is a chat completion, or the stream's last chunk with its `frame`."""

    body: dict[str, Any]
    frame: dict[str, Any]
    usage: Usage
    settled: Settled


async def exchange(
    services: Services, call_id: UUID, caller: Caller, call: ChatCall, cap: int | None
) -> AsyncGenerator[Admitted | bytes | Finished, None]:
    """Serve one call. `cap` is the caller's own limit in credits. Raises the errors of `shared.core.errors`."""
    try:
        offers = offers_for(services.catalog, call, cap)
    except RequestRefused as refusal:
        refused = await services.keys.first_refusal(caller.digest, refusal)
        if isinstance(refused, InsufficientCredits):  # `cap` does not cover the call
            refused.cheaper = await cheaper_models(services, call, refused.free, digest=caller.digest, session=caller.session)
        raise refused from None
    admission = Admission(services, call_id, caller, call, dearest(offers, cap))
    async with admission as hold:
        assert admission.ticket is not None  # noqa: S101  (set by `__aenter__`)
        yield Admitted(admission.ticket.standing, hold)
        if call.stream:
            # Closed explicitly: otherwise the upstream would keep working until garbage collection.
            async with aclosing(upstream.stream(services, offers, hold)) as relays:
                async for relay in relays:
                    hold.relayed()
                    yield relay
            assert hold.reader is not None  # noqa: S101  (set by a completed stream)
            hold.relayed()
            body, frame = hold.reader.tail(), hold.reader.frame()
        else:
            await upstream.answer(services, offers, hold)
            assert hold.answer is not None  # noqa: S101  (set by `answer`)
            hold.relayed()
            body, frame = hold.answer.body, {}
        settled = await admission.settle()
    if hold.rest:
        yield hold.rest  # after the settlement, so that a slow client does not keep credits held
    yield Finished(body, frame, admission.usage, settled)
