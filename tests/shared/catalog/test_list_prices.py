"""List prices: which provider and model a route is, and rates that cover every time of the day and prompt length."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices.types import ModelPrice, PriceVariant, StartDateConstraint, TimeOfDateConstraint

from shared.catalog.list_prices import find_list_price, highest_rates
from shared.core.errors import NotFound
from tests.shared.catalog.price_data import dated, price_data, tiered

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
OLD, NEW = ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(4)), ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2))
NIGHT = TimeOfDateConstraint(time(22, tzinfo=UTC), time(4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("base_url", "slug", "model", "source"),
    [
        (OPENAI, "", "small", "openai/small"),
        (f"{OPENAI}/", "nobody", "SMALL", "openai/small"),
        ("https://relay.example/v1", "openai", "small", "openai/small"),
        ("https://relay.example/v1", "openai-responses", "small", "openai/small"),
        ("https://relay.example/v1", "xai", "grok", "x-ai/grok"),
        (OPENAI, "xai", "small", "openai/small"),
    ],
)
def test_the_base_url_names_the_provider_or_else_the_setting(base_url: str, slug: str, model: str, source: str) -> None:
    price = ModelPrice(input_mtok=Decimal("0.15"), output_mtok=Decimal("0.6"))
    with price_data({"openai": {"small": price}, "x-ai": {"grok": price}}):
        assert find_list_price(base_url, slug, model, NOON).source == source


@pytest.mark.parametrize(
    ("base_url", "model", "message"),
    [
        ("http://127.0.0.1:1/v1", "small", "provider is not"),
        (OPENAI, "large", "no model 'large'"),
        (OPENAI, "empty", "no price"),
    ],
)
def test_models_and_providers_outside_the_data_are_not_found(base_url: str, model: str, message: str) -> None:
    with price_data({"openai": {"small": NEW, "empty": []}}), pytest.raises(NotFound, match=message):
        find_list_price(base_url, "", model, NOON)


@pytest.mark.parametrize(
    ("prices", "rates"),
    [
        (dated((None, OLD), (StartDateConstraint(date(2026, 11, 30)), NEW)), {"input": 1, "output": 2}),
        (dated((None, OLD), (StartDateConstraint(date(2026, 12, 1)), NEW)), {"input": 3, "output": 4}),
        (dated((None, NEW), (NIGHT, OLD)), {"input": 3, "output": 4}),
        (dated((None, OLD), (NIGHT, NEW)), {"input": 3, "output": 4}),
    ],
    ids=["began", "not yet", "dearer at night", "cheaper at night"],
)
def test_the_price_of_the_day_covers_every_hour(prices: list[object], rates: dict[str, int]) -> None:
    with price_data({"openai": {"small": prices}}):
        found = find_list_price(OPENAI, "", "small", NOON).rates
    assert {kind: steps[0] for kind, steps in found.items()} == rates


def test_an_announced_price_has_its_day() -> None:
    days = [StartDateConstraint(date(2026, 11, 1)), StartDateConstraint(date(2027, 1, 1)), StartDateConstraint(date(2026, 12, 1))]
    with price_data({"openai": {"small": dated((None, OLD), *((day, NEW) for day in days)), "flat": NEW}}):
        assert find_list_price(OPENAI, "", "small", NOON).changes == date(2026, 12, 1)
        assert find_list_price(OPENAI, "", "flat", NOON).changes is None


def test_units_without_a_rate_are_named() -> None:
    price = ModelPrice(input_mtok=Decimal(1), input_video_mtok=Decimal(2), storage_searches_kcount=Decimal(3))
    with price_data({"openai": {"small": price}}):
        assert find_list_price(OPENAI, "", "small", NOON).uncovered == ("input_video_mtok",)


def test_a_tier_has_its_highest_factor() -> None:
    price = ModelPrice(input_mtok=tiered(2, 100, 4), cache_read_mtok=Decimal("0.25"), output_mtok=Decimal(10))
    flex = ModelPrice(input_mtok=tiered(1, 100, 2), cache_read_mtok=Decimal("0.13"), output_mtok=Decimal(5))
    batch = PriceVariant({"processing": "batch"}, NEW)
    with price_data({"openai": {"small": price}}, variants=[PriceVariant({"service_tier": "flex"}, flex), batch]):
        assert find_list_price(OPENAI, "", "small", NOON).tiers == {"flex": Decimal("0.52")}


@pytest.mark.parametrize(
    ("prices", "covered"),
    [
        ([{"input": {0: 1}, "output": {0: 5}}, {"input": {0: 2}, "output": {0: 4}}], {"input": {0: 2}, "output": {0: 5}}),
        ([{"input": {0: 1, 200: 2}}, {"input": {0: 1, 100: 3}}], {"input": {0: 1, 100: 3}}),
        ([{"input": {0: 3, 100: 2}}], {"input": {0: 3}}),
        ([{"input": {0: 3}, "cached_input": {0: 1}}, {"input": {0: 2}}], {"input": {0: 3}, "cached_input": {0: 2}}),
        (
            [{"input": {0: 1}, "cache_write": {0: 2}}, {"input": {0: 1, 9: 4}}],
            {"input": {0: 1, 9: 4}, "cache_write": {0: 2, 9: 4}},
        ),
        ([{"output": {0: 1}, "web_search": {0: 9}}, {"output": {0: 1}}], {"output": {0: 1}, "web_search": {0: 9}}),
    ],
    ids=["two providers", "two lengths", "falling", "fallback", "fallback with lengths", "only one has it"],
)
def test_the_highest_rates_cover_each_price(prices: list[dict], covered: dict) -> None:
    decimal = [{kind: {above: Decimal(usd) for above, usd in steps.items()} for kind, steps in price.items()} for price in prices]
    assert highest_rates(decimal) == covered


@pytest.mark.parametrize(
    ("base_url", "model"),
    [(OPENAI, "gpt-4o-mini"), ("https://api.anthropic.com/v1", "claude-haiku-4-5")],
)
def test_the_bundled_data_has_sane_prices(base_url: str, model: str) -> None:
    price = find_list_price(base_url, "", model, NOON)
    assert price.uncovered == ()
    base = {kind: steps[0] for kind, steps in price.rates.items()}
    assert Decimal("0.01") < base["cached_input"] < base["input"] < base["output"] < Decimal(100)
