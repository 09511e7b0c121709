"""THE request: the one place that decides the order of its steps. Streaming or not, it is one generator.

    caller → catalogue → quote → admit (limits, hold) → upstream → settle

It yields bytes to relay, and at last `Finished`. What the caller's HTTP looks like is decided in `responses`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple
from uuid import UUID

from edge import upstream
from edge.admission import Admission, Caller
from edge.hold import Hold
from edge.services import Services
from shared.catalog import CatalogModel
from shared.clock import now_ms
from shared.errors import InsufficientCredits, InvalidRequest, ModelNotFound, RequestRefused
from shared.ledger import Settled
from shared.limits import Standing
from shared.pricing import DEFAULT_OUTPUT_TOKENS, Quote, quote
from shared.providers.base import ChatCall
from shared.providers.kinds import served
from shared.usage import Usage


class Admitted(NamedTuple):
    """The call may go on: the first thing that is yielded."""

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
    """Serve one call. `cap` is the caller's own limit in credits. Raises the errors of `shared.errors`."""
    model = services.catalog.models.get(call.model)
    try:
        if model is None or model.kind != call.kind:
            raise ModelNotFound(call.model)
        quoted = quote_call(model, call, cap)
    except RequestRefused as refusal:
        raise await services.keys.first_refusal(caller.digest, refusal) from None
    routes = served(model.routes, call.kind)
    admission = Admission(services, call_id, caller, call, quoted)
    async with admission as hold:
        assert admission.ticket is not None  # noqa: S101  (taken on entering)
        yield Admitted(admission.ticket.standing, hold)
        if call.stream:
            # Closed by hand: left to the garbage collector, the upstream would work on while the call is settled.
            async with aclosing(upstream.stream(services, call, routes, hold)) as relays:
                async for relay in relays:
                    hold.relayed()
                    yield relay
            assert hold.reader is not None  # noqa: S101  (a stream that ended had one)
            hold.relayed()
            body, frame = hold.reader.tail(), hold.reader.frame()
        else:
            await upstream.answer(services, call, routes, hold)
            assert hold.answer is not None  # noqa: S101  (answered)
            hold.relayed()
            body, frame = hold.answer.body, {}
        settled = await admission.settle()
    yield Finished(body, frame, admission.usage, settled)


def quote_call(model: CatalogModel, call: ChatCall, cap: int | None) -> Quote:
    """The quote of `call` at the price in force now. Raises `ModelNotFound` for a model without a price, and refuses what the
    model's window or the caller's own cap cannot hold."""
    price = model.price_at(now_ms())
    if price is None:
        raise ModelNotFound(model.id)
    window = model.context_window if call.kind == "chat" else None  # that of others bounds each input, not the call
    if window is not None and call.input_estimate // 2 > window:
        raise InvalidRequest(
            f"This model's maximum context length is {window} tokens; the messages have about {call.input_estimate}.",
            "messages",
            "context_length_exceeded",
        )
    most = model.max_output_tokens or window or DEFAULT_OUTPUT_TOKENS
    quoted = quote(
        price,
        input_bound=min(call.input_bound, window) if window else call.input_bound,
        input_estimate=call.input_estimate,
        output_limit=most if call.output_limit is None else min(call.output_limit, most),
        choices=call.choices,
        cap=cap,
    )
    if cap is not None and quoted.minimum > cap:
        raise InsufficientCredits(
            required=quoted.minimum,
            balance=cap,
            message=f"This call needs at least {quoted.minimum} credits, and its x-yout-max-credits allows {cap}.",
        )
    return quoted
