"""Media prices: whole credits, started units count fully, undelivered outputs cost nothing."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.pricing import MediaUnits, PriceList, media_charge, media_quote


def price(
    per_call: int = 0, *, per_5_seconds: int | None = None, per_1k_characters: int | None = None, minimum: int = 10
) -> PriceList:
    return PriceList(UUID(int=1), 0, 0, 0, None, per_call, minimum, per_5_seconds, per_1k_characters)


IMAGE = price(40_000)
VIDEO = price(per_5_seconds=1_200_000)
SPEECH = price(per_1k_characters=15_000)


@pytest.mark.parametrize(
    ("charged_by", "used", "credits"),
    [
        (IMAGE, MediaUnits(1), 40_000),
        (IMAGE, MediaUnits(3), 120_000),
        (IMAGE, MediaUnits(0), 0),
        (VIDEO, MediaUnits(seconds=1), 1_200_000),
        (VIDEO, MediaUnits(seconds=5), 1_200_000),
        (VIDEO, MediaUnits(seconds=6), 2_400_000),
        (VIDEO, MediaUnits(seconds=12), 3_600_000),
        (VIDEO, MediaUnits(0, seconds=12), 0),
        (SPEECH, MediaUnits(characters=1_000), 15_000),
        (SPEECH, MediaUnits(characters=1_001), 15_015),
        (SPEECH, MediaUnits(characters=1), 15),
        (price(per_1k_characters=1), MediaUnits(characters=1), 10),  # the minimum charge
        (price(per_1k_characters=1, minimum=0), MediaUnits(characters=1), 1),  # a thousandth rounds up
        (price(500, per_1k_characters=1_000), MediaUnits(characters=20), 520),
        (price(), MediaUnits(4, 60, 10**6), 0),  # a free model, whatever its minimum charge
    ],
)
def test_media_charges(charged_by: PriceList, used: MediaUnits, credits: int) -> None:
    assert media_charge(charged_by, used) == credits


amounts = st.integers(0, 10**12)
prices = st.builds(
    lambda call, seconds, characters, least: price(call, per_5_seconds=seconds, per_1k_characters=characters, minimum=least),
    *(amounts, st.none() | amounts, st.none() | amounts, amounts),
)
requests = st.builds(MediaUnits, st.integers(1, 128), st.integers(0, 3_600), st.integers(0, 10**6))


@given(prices, requests)
def test_the_charge_is_the_exact_sum_rounded_up_once(charged_by: PriceList, used: MediaUnits) -> None:
    seconds = ceil(Fraction(used.seconds, 5)) * (charged_by.credits_per_5_seconds or 0)
    characters = Fraction(used.characters, 1000) * (charged_by.credits_per_1k_characters or 0)
    exact = ceil(charged_by.credits_per_call * used.units + seconds + characters)
    expected = 0 if charged_by.is_zero else max(charged_by.minimum_credits, exact)
    found = media_charge(charged_by, used)
    assert type(found) is int
    assert found == expected


@given(prices, requests, st.integers(0, 128))
def test_a_partial_delivery_never_costs_more_than_the_hold(charged_by: PriceList, asked: MediaUnits, delivered: int) -> None:
    part = asked._replace(units=min(delivered, asked.units))
    quoted = media_quote(charged_by, asked)
    assert quoted.bound == quoted.minimum  # media calls have no shorter alternative
    assert 0 <= media_charge(charged_by, part) <= quoted.bound
