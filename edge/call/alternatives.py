"""Alternative models that could serve a call with the available credits, for quotes and 402 errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edge.call.candidates import quote_call
from edge.services import Services
from shared.billing.pricing import Quote
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import InsufficientCredits, RequestRefused, YoutError
from shared.dialects.base import ChatCall
from shared.dialects.translators import routes_for_kind
from shared.identity.payer import KeyPayer, Payer, VisitorPayer

MAX_LISTED = 5  # models in a 402 error


class Alternative(NamedTuple):
    """A model that could serve the call, with its quote."""

    model: CatalogModel
    quote: Quote


def affordable_models(models: Iterable[CatalogModel], call: ChatCall, credits: int) -> list[Alternative]:
    """Return the models that support the call and whose minimum `credits` cover, lowest maximum cost first."""
    needs = _needs(call)
    found = []
    for model in models:
        if model.kind != call.kind or not routes_for_kind(model.routes, call.kind) or not needs <= set(model.capabilities):
            continue
        try:
            quoted = quote_call(model, call, None)
        except RequestRefused:  # no price, or a window that is too small
            continue
        if quoted.minimum <= credits:
            found.append(Alternative(model, quoted))
    return sorted(found, key=lambda fit: (fit.quote.bound, fit.quote.minimum, fit.model.id))


def _needs(call: ChatCall) -> set[str]:
    """Return the capabilities that the call needs."""
    needs = {"tools"} if call.body.get("tools") else set()
    for message in call.body.get("messages", ()):
        content = message.get("content")
        if isinstance(content, list) and any(part.get("type") == "image_url" for part in content):
            needs.add("vision")
    return needs


def cheapest_alternatives(models: Iterable[CatalogModel], call: ChatCall, credits: int) -> tuple[tuple[str, int], ...]:
    """Return the affordable models for a 402 error, as pairs of id and maximum cost in credits."""
    return tuple((fit.model.id, fit.quote.bound) for fit in affordable_models(models, call, credits)[:MAX_LISTED])


async def complete_refusal(services: Services, call: ChatCall, refusal: InsufficientCredits, payer: Payer) -> None:
    """Add to `refusal` the cheapest affordable models that `payer` may use for `call`.

    Also adds the account's balance if it is missing. Does nothing for visitors, who see the few free models anyway.
    """
    if isinstance(payer, VisitorPayer):
        return
    look_up = services.keys.look_up if isinstance(payer, KeyPayer) else services.sessions.find
    try:
        holder = await look_up(payer.digest)
        if refusal.balance is None:
            refusal.balance = await services.balance_of(holder.account)
    except YoutError:  # the 402 error is sent without them
        return
    now = now_ms()
    usable = (model for model in services.catalog.listed.values() if holder.may_use(model, now))
    refusal.alternatives = cheapest_alternatives(usable, call, refusal.available)
