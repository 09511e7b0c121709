"""Which models could serve a call for the credits that are there: what a quote and a 402 tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edge.call.candidates import quote_call
from edge.services import Services
from shared.billing.pricing import Quote
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import RequestRefused, YoutError
from shared.dialects.base import ChatCall
from shared.dialects.translators import served

MOST_TOLD = 5  # models, in a 402


class Fit(NamedTuple):
    """A model that could serve the call, and what that may cost there."""

    model: CatalogModel
    quote: Quote


def fitting(models: Iterable[CatalogModel], call: ChatCall, credits: int) -> list[Fit]:
    """Those of `models` that can do what the call needs and whose minimum `credits` cover, the cheapest at worst first."""
    needs = _needs(call)
    found = []
    for model in models:
        if model.kind != call.kind or not served(model.routes, call.kind) or not needs <= set(model.capabilities):
            continue
        try:
            quoted = quote_call(model, call, None)
        except RequestRefused:  # no price, or a window that is too small
            continue
        if quoted.minimum <= credits:
            found.append(Fit(model, quoted))
    return sorted(found, key=lambda fit: (fit.quote.bound, fit.quote.minimum, fit.model.id))


def _needs(call: ChatCall) -> set[str]:
    """The capabilities without which a model could not take the call."""
    needs = {"tools"} if call.body.get("tools") else set()
    for message in call.body.get("messages", ()):
        content = message.get("content")
        if isinstance(content, list) and any(part.get("type") == "image_url" for part in content):
            needs.add("vision")
    return needs


def cheapest(models: Iterable[CatalogModel], call: ChatCall, credits: int) -> tuple[tuple[str, int], ...]:
    """What a 402 tells of them: those that fit, each with its most in credits."""
    return tuple((fit.model.id, fit.quote.bound) for fit in fitting(models, call, credits)[:MOST_TOLD])


async def cheaper_models(
    services: Services, call: ChatCall, credits: int, *, digest: str, session: str
) -> tuple[tuple[str, int], ...]:
    """The cheapest that the caller, a key or a web session by its digest, may use for `call` and that `credits` cover.

    None for visitors, whose few free models are listed for them.
    """
    if not digest and not session:
        return ()
    try:
        holder = await (services.keys.look_up(digest) if digest else services.sessions.find(session))
    except YoutError:  # the refusal that this belongs to is told without it
        return ()
    now = now_ms()
    return cheapest((model for model in services.catalog.models.values() if holder.may_use(model, now)), call, credits)
