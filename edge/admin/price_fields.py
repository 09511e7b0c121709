"""The fields of a price in the administration API."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edge.http.api_spec import INTEGER, STRING, Schema, array, described, nullable, response_schema
from edge.http.body_types import ClosedBody
from shared.billing.rates import Rate
from shared.models import Price
from shared.operations.prices import COLUMNS, MAX_ABOVE_TOKENS, MAX_PRICE, MAX_RATES, rates_of
from shared.operations.prices import Rates as PriceRates

Credits = Annotated[int, Meta(ge=0, le=MAX_PRICE)]

RATES: dict[str, Schema] = {
    "credits_per_1k_input": described(INTEGER, "Credits per 1,000 input tokens.", 150),
    "credits_per_1k_output": described(INTEGER, "Credits per 1,000 output tokens.", 600),
    "credits_per_1k_cached_input": described(nullable(INTEGER), "Credits per 1,000 cached input tokens; null: as input."),
    "credits_per_1k_cache_write": described(nullable(INTEGER), "Credits per 1,000 cache write tokens; null: as input."),
    "credits_per_call": described(INTEGER, "Credits per call.", 0),
    "minimum_credits": described(INTEGER, "Minimum charge per call.", 10),
    "credits_per_5_seconds": described(nullable(INTEGER), "Credits per started 5 seconds of video; null for other models."),
    "credits_per_1k_characters": described(nullable(INTEGER), "Credits per 1,000 characters of speech; null for other models."),
    "rates": described(
        array(
            response_schema(
                {
                    "kind": described(STRING, "What the rate is for, such as `audio_input`, `web_search` or `tier:flex`."),
                    "above_tokens": described(INTEGER, "Applies to calls with more input tokens than this.", 0),
                    "credits": described(INTEGER, "Credits per 1,000 tokens or per unit; for a tier, thousandths of the rates."),
                }
            )
        ),
        "Further rates, sorted by kind and prompt length.",
        [{"kind": "web_search", "above_tokens": 0, "credits": 10_000}],
    ),
}


class FurtherRate(ClosedBody, kw_only=True):
    """A further rate of a price."""

    kind: Annotated[str, Meta(min_length=1, max_length=40, description="Such as `audio_input`, `web_search` or `tier:flex`.")]
    credits: Annotated[
        Credits, Meta(description="Credits per 1,000 tokens or per unit; for a tier, thousandths of the token rates.")
    ]
    above_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_ABOVE_TOKENS)], Meta(description="Applies to calls with more input tokens than this.")
    ] = 0


class Rates(ClosedBody, kw_only=True):
    """A price in credits. Omitted rates are 0, or null where null is allowed."""

    credits_per_1k_input: Annotated[Credits, Meta(description="Credits per 1,000 input tokens.")] = 0
    credits_per_1k_output: Annotated[Credits, Meta(description="Credits per 1,000 output tokens.")] = 0
    credits_per_1k_cached_input: Annotated[
        Credits | None, Meta(description="Credits per 1,000 cached input tokens. Null: as input.")
    ] = None
    credits_per_1k_cache_write: Annotated[
        Credits | None, Meta(description="Credits per 1,000 cache write tokens. Null: as input.")
    ] = None
    credits_per_call: Annotated[Credits, Meta(description="Credits per call.")] = 0
    minimum_credits: Annotated[Credits, Meta(description="Minimum charge per call.")] = 10
    credits_per_5_seconds: Annotated[Credits | None, Meta(description="Credits per started 5 seconds of video.")] = None
    credits_per_1k_characters: Annotated[Credits | None, Meta(description="Credits per 1,000 characters of speech.")] = None
    rates: Annotated[
        Annotated[list[FurtherRate], Meta(max_length=MAX_RATES)], Meta(description="Further rates, of kinds without a field.")
    ] = []


def rates_from(sent: Rates) -> PriceRates:
    """Return the rates of a request. `shared.operations.prices` checks them."""
    further = tuple(sorted(Rate(rate.kind, rate.above_tokens, rate.credits) for rate in sent.rates))
    return PriceRates(**{name: getattr(sent, column) for name, column in COLUMNS.items()}, rates=further)


def rates_document(row: Price) -> dict[str, object]:
    """Return the rates of a price in the format of the API."""
    rates = rates_of(row)
    columns = {column: getattr(rates, name) for name, column in COLUMNS.items()}
    return {**columns, "rates": [rate._asdict() for rate in rates.rates]}
