"""Which models may serve a call, at which price and through which channels: the plain case is one model as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shared.billing.pricing import DEFAULT_OUTPUT_TOKENS, Quote, quote
from shared.catalog.routing import Preferences, allowed
from shared.catalog.snapshot import Catalog, CatalogModel, Route
from shared.core.clock import now_ms
from shared.core.errors import InsufficientCredits, InvalidRequest, ModelNotFound
from shared.dialects.base import ChatCall
from shared.dialects.translators import served


class Offer(NamedTuple):
    """One model that may serve: the call as it would be made of it, its quote, and the channels that may be tried."""

    call: ChatCall
    quote: Quote
    routes: Sequence[Route]


def offers_for(catalog: Catalog, call: ChatCall, cap: int | None) -> tuple[Offer, ...]:
    """What may serve `call`, first choice first. Raises the refusals of `shared.core.errors`."""
    if not call.fallbacks and call.preferences is None:
        return (_offer(catalog, call, cap),)
    calls = [call, *(call._replace(model=id, body={**call.body, "model": id}) for id in call.fallbacks)]
    found: list[Offer] = []
    unfit: InvalidRequest | InsufficientCredits | None = None
    for one in calls:
        try:
            found.append(_offer(catalog, one, cap))
        except (InvalidRequest, InsufficientCredits) as problem:  # too long for this model, or too dear: others may do
            unfit = unfit or problem
    if unfit is not None and not found:
        raise unfit
    return _preferred(found, call.preferences or Preferences())


def dearest(offers: Sequence[Offer], cap: int | None) -> Quote:
    """The quote to hold: it pays for whichever model serves."""
    if len(offers) == 1:
        return offers[0].quote
    quoted = max((offer.quote for offer in offers), key=lambda found: found.bound)
    return quoted._replace(minimum=max(offer.quote.minimum for offer in offers), cap=cap)


def _offer(catalog: Catalog, call: ChatCall, cap: int | None) -> Offer:
    model = catalog.models.get(call.model)
    if model is None or model.kind != call.kind:
        raise ModelNotFound(call.model)
    return Offer(call, quote_call(model, call, cap), served(model.routes, call.kind))


def _preferred(offers: list[Offer], wanted: Preferences) -> tuple[Offer, ...]:
    found = [offer for offer in offers if _affordable(offer.quote, wanted)]
    if not found:
        raise InvalidRequest("Every model that you named costs more than 'provider.max_price' allows.", "provider.max_price")
    if wanted.sort == "price":
        found.sort(key=lambda offer: offer.quote.bound)
    found = [offer._replace(routes=allowed(offer.routes, wanted)) for offer in found]
    found = [offer for offer in found if offer.routes]
    if not found:
        raise InvalidRequest("No channel of this model is what 'provider' asks for.", "provider", "no_matching_provider")
    return tuple(found)


def _affordable(quoted: Quote, wanted: Preferences) -> bool:
    price = quoted.price
    limits = ((price.credits_per_1k_input, wanted.dearest_input), (price.credits_per_1k_output, wanted.dearest_output))
    return all(most is None or rate <= most for rate, most in limits)


def _output_limit(model: CatalogModel, window: int | None, asked: int | None) -> int:
    """Tokens a choice that a call pays for at most: what was asked for, as far as the catalogue knows that the model can."""
    most = model.max_output_tokens or window
    if asked is not None:
        return asked if most is None else min(asked, most)
    return model.max_output_tokens or model.unasked_output or window or DEFAULT_OUTPUT_TOKENS


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
    quoted = quote(
        price,
        input_bound=min(call.input_bound, window) if window else call.input_bound,
        input_estimate=call.input_estimate,
        output_limit=_output_limit(model, window, call.output_limit),
        choices=call.choices,
        cap=cap,
        reasoning_limit=model.reasoning_tokens if call.kind == "chat" else 0,
    )
    if cap is not None and quoted.minimum > cap:
        raise InsufficientCredits(
            required=quoted.minimum,
            balance=cap,
            message=f"This call needs at least {quoted.minimum} credits, and its x-yout-max-credits allows {cap}.",
        )
    return quoted
