"""The routing options of a chat body, `models` and `provider`. They are never forwarded to providers.

They follow OpenRouter's API, except for `max_price`, which is in credits per 1,000 tokens like all prices here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge.http.body_types import ClosedBody, ModelId
from shared.catalog.routing import RoutingPreferences

MAX_MODELS = 8
MAX_NAMES = 50

Names = Annotated[
    list[str], Meta(max_length=MAX_NAMES, extra={"expected": f"a list of at most {MAX_NAMES} channel or provider names"})
]
Price = Annotated[int, Meta(ge=0, extra={"expected": "in whole credits per 1,000 tokens"})]


class MaxPrice(ClosedBody):
    """Models that cost more are left out. In credits per 1,000 tokens."""

    prompt: Annotated[Price | None, Meta(description="Maximum price of input.")] = None
    completion: Annotated[Price | None, Meta(description="Maximum price of output.")] = None


class ProviderPreferences(ClosedBody):
    """Which channels may serve a call, and in which order."""

    order: Annotated[Names | None, Meta(description="Channels or providers to try first, in this order.")] = None
    only: Annotated[Names | None, Meta(description="The only channels or providers that may serve the call.")] = None
    ignore: Annotated[Names | None, Meta(description="Channels or providers that may not serve the call.")] = None
    allow_fallbacks: Annotated[bool | None, Meta(description="False leaves out the channels that `order` does not name.")] = None
    sort: Annotated[
        Literal["price", "latency", "throughput"] | None,
        Meta(description="Sort channels by measured speed, or `models` by price."),
    ] = None
    data_collection: Annotated[
        Literal["allow", "deny"] | None, Meta(description="`deny` leaves out providers that store requests or train on them.")
    ] = None
    max_price: Annotated[MaxPrice | None, Meta(description="Maximum prices; models that cost more are left out.")] = None


Fallbacks = Annotated[
    Annotated[list[ModelId], Meta(min_length=1, max_length=MAX_MODELS)] | None,
    Meta(
        description="Fallback models, tried in this order after `model`.",
        extra={"expected": f"a list of 1 to {MAX_MODELS} model ids"},
    ),
]
Provider = Annotated[ProviderPreferences | None, Meta(description="Preferences among the channels of a model.")]


def routing_preferences(chosen: ProviderPreferences | None) -> RoutingPreferences | None:
    """Return the `provider` object as preferences; None if it is missing."""
    if chosen is None:
        return None
    prices = chosen.max_price or MaxPrice()
    return RoutingPreferences(
        order=tuple(chosen.order or ()),
        only=None if chosen.only is None else tuple(chosen.only),
        ignore=tuple(chosen.ignore or ()),
        allow_fallbacks=chosen.allow_fallbacks is not False,
        sort=chosen.sort,
        zero_retention=chosen.data_collection == "deny",
        max_input_price=prices.prompt,
        max_output_price=prices.completion,
    )
