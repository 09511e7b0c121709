"""THE request: the one place that decides the order of its steps. Streaming or not, it is one generator.

    caller → catalogue, quotes → admit (limits, hold) → upstream → settle

It yields bytes to relay, and at last `Finished`. What the caller's HTTP looks like is decided in `responses`.
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
    """The call may go on: the first thing that is yielded. `hold` tells, later, which channel it took."""

    standing: Standing
    hold: Hold


class Finished(NamedTuple):
    """The answer is complete and paid for. `body` is a chat completion, or the stream's last chunk and its `frame`."""

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
        if isinstance(refused, InsufficientCredits):  # the caller's own cap does not cover the call
            refused.cheaper = await cheaper_models(services, call, refused.free, digest=caller.digest, session=caller.session)
        raise refused from None
    admission = Admission(services, call_id, caller, call, dearest(offers, cap))
    async with admission as hold:
        assert admission.ticket is not None  # noqa: S101  (taken on entering)
        yield Admitted(admission.ticket.standing, hold)
        if call.stream:
            # Closed by hand: left to the garbage collector, the upstream would work on while the call is settled.
            async with aclosing(upstream.stream(services, offers, hold)) as relays:
                async for relay in relays:
                    hold.relayed()
                    yield relay
            assert hold.reader is not None  # noqa: S101  (a stream that ended had one)
            hold.relayed()
            body, frame = hold.reader.tail(), hold.reader.frame()
        else:
            await upstream.answer(services, offers, hold)
            assert hold.answer is not None  # noqa: S101  (answered)
            hold.relayed()
            body, frame = hold.answer.body, {}
        settled = await admission.settle()
    if hold.rest:
        yield hold.rest  # after the settlement, so that a slow reader does not keep the credits held
    yield Finished(body, frame, admission.usage, settled)
