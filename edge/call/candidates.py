"""Candidates for a call: the models that may serve it, with quotes and channels. Usually just the requested model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from edge.call.priced_fields import possible_costs, without_optional_tools
from edge.call.requests import image_parts
from edge.http.headers import check_max_credits
from shared.billing.image_tokens import IMAGE_TOKENS, is_unlimited, max_image_tokens, original_image_tokens
from shared.billing.pricing import DEFAULT_OUTPUT_TOKENS, Quote, quote
from shared.catalog.model_settings import of_model
from shared.catalog.routing import RoutingPreferences, filter_routes
from shared.catalog.snapshot import Catalog, CatalogModel, Route
from shared.core.clock import now_ms
from shared.core.errors import InsufficientCredits, InvalidRequest, ModelNotFound
from shared.dialects.base import ChatCall
from shared.dialects.translators import routes_for_kind

# Input that is held for linked files and search results if the model's context window is not known.
UNBOUNDED_INPUT_TOKENS = 1_000_000


class Candidate(Struct, frozen=True, gc=False):
    """A model that may serve the call: the call for it, its quote, the routes to try, and its id.

    The call's `model` is the name that the caller used, which may be an alias.
    """

    call: ChatCall
    quote: Quote
    routes: Sequence[Route]
    model: str


def find_candidates(catalog: Catalog, call: ChatCall, cap: int | None) -> tuple[Candidate, ...]:
    """Return the candidates for `call` in order of preference. Raises subclasses of `RequestRefused`.

    The provider's optional tools are left out if `cap` does not cover them.
    """
    try:
        return _find_candidates(catalog, call, cap)
    except InsufficientCredits:
        reduced = without_optional_tools(call)
        if reduced is None:
            raise
        return _find_candidates(catalog, reduced, cap)


def _find_candidates(catalog: Catalog, call: ChatCall, cap: int | None) -> tuple[Candidate, ...]:
    if not call.fallbacks and call.preferences is None:
        return (_candidate(catalog, call, cap),)
    calls = [call, *(call._replace(model=id, body={**call.body, "model": id}) for id in call.fallbacks)]
    found: list[Candidate] = []
    first_error: InvalidRequest | InsufficientCredits | None = None
    for alternative in calls:
        try:
            candidate = _candidate(catalog, alternative, cap)
            if all(candidate.model != earlier.model for earlier in found):  # not a second name of the same model
                found.append(candidate)
        # too long or too expensive for this model, but maybe not for another
        except (InvalidRequest, InsufficientCredits) as error:
            first_error = first_error or error
    if first_error is not None and not found:
        raise first_error
    return _preferred(found, call.preferences or RoutingPreferences())


def max_quote(candidates: Sequence[Candidate], cap: int | None) -> Quote:
    """Return the quote to hold, which covers every candidate."""
    if len(candidates) == 1:
        return candidates[0].quote
    quoted = max((candidate.quote for candidate in candidates), key=lambda found: found.bound)
    return quoted._replace(minimum=max(candidate.quote.minimum for candidate in candidates), cap=cap)


def _candidate(catalog: Catalog, call: ChatCall, cap: int | None) -> Candidate:
    model = catalog.find(call.model, now_ms())
    if model is None or model.kind != call.kind:
        raise ModelNotFound(call.model)
    return Candidate(call, quote_call(model, call, cap), routes_for_kind(model.routes, call.kind), model.id)


def _preferred(candidates: list[Candidate], preferences: RoutingPreferences) -> tuple[Candidate, ...]:
    found = [candidate for candidate in candidates if _affordable(candidate.quote, preferences)]
    if not found:
        raise InvalidRequest("All requested models cost more than 'provider.max_price'.", "provider.max_price")
    if preferences.sort == "price":
        found.sort(key=lambda candidate: candidate.quote.bound)
    found = [replace(candidate, routes=filter_routes(candidate.routes, preferences)) for candidate in found]
    found = [candidate for candidate in found if candidate.routes]
    if not found:
        raise InvalidRequest("No channel of this model matches 'provider'.", "provider", "no_matching_provider")
    return tuple(found)


def _affordable(quoted: Quote, preferences: RoutingPreferences) -> bool:
    price = quoted.price
    limits = (
        (price.credits_per_1k_input, preferences.max_input_price),
        (price.credits_per_1k_output, preferences.max_output_price),
    )
    return all(maximum is None or rate <= maximum for rate, maximum in limits)


def image_tokens(routes: Iterable[Route]) -> int:
    """Return an upper bound for the tokens of an image on any of `routes`: the setting `image_tokens`, or what is documented."""
    bounds = (
        of_model(route.settings, "image_tokens", route.upstream_model, None) or max_image_tokens(route.upstream_model)
        for route in routes
    )
    return max(bounds, default=IMAGE_TOKENS)


def extra_image_tokens(call: ChatCall, routes: Sequence[Route]) -> int:
    """Return how many tokens the call's images may have on any of `routes`, in addition to `IMAGE_TOKENS` each.

    If the model does not limit them and the size of an image is unknown, the bound is that of a linked file.
    """
    more = call.images * max(image_tokens(routes) - IMAGE_TOKENS, 0)
    if any(
        is_unlimited(route.upstream_model) and not of_model(route.settings, "image_tokens", route.upstream_model, None)
        for route in routes
    ):
        found = [original_image_tokens(part) for part in image_parts(call.body)]
        known = [tokens - IMAGE_TOKENS for tokens in found if tokens is not None]
        more = max(more, sum(known) if len(known) == len(found) else UNBOUNDED_INPUT_TOKENS)
    return more


def _output_limit(model: CatalogModel, window: int | None, requested: int | None) -> int:
    """Return the maximum output in tokens per choice: the requested limit, capped at the model's."""
    maximum = model.max_output_tokens or window
    if requested is not None:
        return requested if maximum is None else min(requested, maximum)
    return model.max_output_tokens or model.default_output_limit or window or DEFAULT_OUTPUT_TOKENS


def quote_call(model: CatalogModel, call: ChatCall, cap: int | None) -> Quote:
    """Quote `call` at the current price.

    Raises `ModelNotFound` for a model without a price, `InvalidRequest` if the context window is too small, and
    `InsufficientCredits` if the minimum exceeds the caller's own `cap`.
    """
    price = model.price_at(now_ms())
    if price is None:
        raise ModelNotFound(model.id)
    window = model.context_window if call.kind == "chat" else None  # for other kinds it limits each input, not the call
    if window is not None and call.input_estimate // 2 > window:
        raise InvalidRequest(
            f"This model's maximum context length is {window} tokens; the messages have about {call.input_estimate}.",
            "messages",
            "context_length_exceeded",
        )
    costs = possible_costs(call, model.routes, price)
    input_bound = call.input_bound
    if call.images:
        input_bound += extra_image_tokens(call, model.routes)
    if costs.unbounded_input:
        input_bound = max(input_bound, UNBOUNDED_INPUT_TOKENS)
    quoted = quote(
        price,
        input_bound=min(input_bound, window) if window else input_bound,
        input_estimate=call.input_estimate,
        output_limit=_output_limit(model, window, call.output_limit),
        choices=call.choices,
        cap=cap,
        reasoning_limit=model.reasoning_tokens if call.kind == "chat" else 0,
        costs=costs if call.max_search_units == 1 else costs._replace(search_units=call.max_search_units),
    )
    check_max_credits(quoted.minimum, cap)
    return quoted
