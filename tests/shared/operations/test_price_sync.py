"""Prices from list prices: comparisons, drafts, published prices, and rates that are kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.billing.rates import Rate
from shared.catalog.list_prices import ListPrice
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, AuditEntry, ChannelModel, Price, PriceDraft
from shared.operations.price_drafts import save_draft
from shared.operations.price_sync import Comparisons, Margin, compare_prices, list_rates, sync_prices
from shared.operations.prices import Rates, rates_of, set_price
from shared.operations.prices_in_force import current_price, models_below_cost
from tests import factories as build
from tests.factories import ORIGIN
from tests.shared.catalog.price_data import price_data, usd

CREDITS_PER_USD = 1_000_000
DATA = {
    "openai": {"small": usd("0.15", "0.6", cache_read_mtok="0.075", web_searches_kcount="10")},
    "anthropic": {"small": usd("0.2", "0.5")},
}


def priced(tiers: dict[str, str] | None = None, **rates: dict[int, str]) -> ListPrice:
    usd = {kind: {above: Decimal(value) for above, value in steps.items()} for kind, steps in rates.items()}
    return ListPrice("p/m", usd, {name: Decimal(factor) for name, factor in (tiers or {}).items()})


FLAT = priced(input={0: "0.15"}, output={0: "0.6"})
SEARCH = priced(input={0: "1"}, output={0: "2"}, web_search={0: "10"})


@pytest.mark.parametrize(
    ("price", "options", "rates"),
    [
        (FLAT, {}, Rates(150, 600)),
        (FLAT, {"markup_percent": 25}, Rates(188, 750)),
        (FLAT, {"credits_per_usd": 1_000}, Rates(1, 1)),
        (FLAT, {"live": Rates(9, 9, cached_input=7, minimum=30, per_call=5)}, Rates(150, 600, 7, 5, 30)),
        (
            priced(input={0: "1", 200: "2"}, output={0: "5", 200: "9"}, cache_write={0: "2"}, cache_write_1h={0: "3"}),
            {},
            Rates(
                1_000,
                5_000,
                cache_write=2_000,
                rates=(Rate("cache_write_1h", 0, 3_000), Rate("input", 200, 2_000), Rate("output", 200, 9_000)),
            ),
        ),
        (
            FLAT,
            {"live": Rates(1, 2, rates=(Rate("input", 200, 5), Rate("second", 0, 3)))},
            Rates(150, 600, rates=(Rate("second", 0, 3),)),
        ),
        (
            priced(input={0: "1"}, output={0: "2"}, audio_input={0: "4"}),
            {},
            Rates(1_000, 2_000, rates=(Rate("audio_input", 0, 4_000),)),
        ),
        (priced(input={0: "1"}, output={0: "1"}, per_call={0: "5"}), {}, Rates(1_000, 1_000, per_call=5_000)),
        (SEARCH, {}, Rates(1_000, 2_000)),
        (SEARCH, {"live": Rates(rates=(Rate("web_search", 0, 1),))}, Rates(1_000, 2_000, rates=(Rate("web_search", 0, 10_000),))),
        (
            priced({"flex": "0.5005"}, input={0: "1"}, output={0: "2"}),
            {"live": Rates(rates=(Rate("tier:flex", 0, 400), Rate("tier:other", 0, 9)))},
            Rates(1_000, 2_000, rates=(Rate("tier:flex", 0, 501), Rate("tier:other", 0, 9))),
        ),
        (priced({"flex": "0.5"}, input={0: "1"}, output={0: "2"}), {}, Rates(1_000, 2_000)),
    ],
    ids=[
        *(
            "flat",
            "markup",
            "another rate of exchange",
            "rates that the source lacks",
            "lengths",
            "a length that is gone",
            "audio",
        ),
        *("per call", "no new search", "search", "tiers", "no new tier"),
    ],
)
def test_list_prices_in_credits(price: ListPrice, options: dict[str, Any], rates: Rates) -> None:
    found = list_rates([price], **{"credits_per_usd": CREDITS_PER_USD, **options})
    assert found == rates
    found.check(free=False)


@pytest.fixture
def small(bound_database: Any) -> str:
    """A model at 100 and 300 credits, on a channel of OpenAI's."""
    channel = build.channel("https://api.openai.com/v1", name="ours")
    return build.model("small", channel, input=100, output=300, upstream_model="small").id


def compare(**options: Any) -> Comparisons:
    return compare_prices(CREDITS_PER_USD, **options)


def test_a_sync_drafts_then_publishes_then_changes_nothing(small: str) -> None:
    with price_data(DATA):
        compared = compare(markup_percent=20).known
        (drafted,) = sync_prices(compared, origin=ORIGIN)
        assert (drafted.status, drafted.comparison.live_margin, drafted.comparison.proposed_margin) == (
            "drafted",
            Margin(-50, -100),
            Margin(16, 16),
        )
        assert drafted.comparison.is_below_cost
        assert current_price(small).credits_per_1k_input == 100, "a draft must not be charged"
        draft = PriceDraft.get()
        assert (draft.credits_per_1k_input, draft.credits_per_1k_output, draft.credits_per_1k_cached_input) == (180, 720, 90)
        route = ChannelModel.get()
        assert (route.cost_per_1k_input, route.cost_per_1k_output) == (150, 600)
        entries = AuditEntry.select().count()
        assert [price.status for price in sync_prices(compare(markup_percent=20).known, origin=ORIGIN)] == ["drafted"]
        assert AuditEntry.select().count() == entries, "the same draft must not be saved again"

        compared = compare(markup_percent=20).known
        assert [price.status for price in sync_prices(compared, publish=True, origin=ORIGIN)] == ["published"]
        assert (current_price(small).credits_per_1k_input, PriceDraft.select().count()) == (180, 0)
        rows = Price.select().count()
        again = sync_prices(compare(markup_percent=20).known, publish=True, origin=ORIGIN)
        assert ([price.status for price in again], Price.select().count()) == (["unchanged"], rows)
    assert [entry.action for entry in AuditEntry.select()][-3:] == ["model.channel", "price.draft", "price.set"]


def test_a_draft_of_other_rates_is_replaced(small: str) -> None:
    save_draft(small, Rates(1, 2), origin=ORIGIN)
    with price_data(DATA):
        sync_prices(compare().known, origin=ORIGIN)
    assert rates_of(PriceDraft.get()).input == 150


def test_two_routes_are_covered_by_the_highest_rates(small: str) -> None:
    other = build.channel("https://api.anthropic.com/v1", dialect="anthropic", name="theirs")
    ChannelModel.create(channel=other, model=small, upstream_model="small")
    with price_data(DATA):
        (compared,) = compare(channel="theirs").known
        assert compared.sources == ("openai/small", "anthropic/small")
        assert (compared.proposed.input, compared.proposed.output, compared.proposed.cached_input) == (200, 600, 200)
        ChannelModel.update(status="disabled").where(ChannelModel.channel == other).execute()
        assert compare(channel="theirs").known == []
        assert compare(channel="ours").known[0].proposed.input == 150


def test_a_price_that_changed_since_it_was_compared_is_refused(small: str) -> None:
    with price_data(DATA):
        compared = compare().known
        set_price(small, Rates(7, 8), origin=ORIGIN)
        (refused,) = sync_prices(compared, publish=True, origin=ORIGIN)
    assert (refused.status, current_price(small).credits_per_1k_input) == ("refused", 7)
    assert "changed" in refused.reason
    assert ChannelModel.get().cost_per_1k_input is None, "a refused price must change nothing"


def test_a_list_price_of_zero_is_refused_unless_the_model_is_free(small: str) -> None:
    with price_data({"openai": {"small": usd("0", "0")}}):
        assert [price.status for price in sync_prices(compare().known, origin=ORIGIN)] == ["refused"]
        AIModel.update(is_free=True).where(AIModel.id == small).execute()
        assert [price.status for price in sync_prices(compare().known, origin=ORIGIN)] == ["drafted"]


def test_models_without_a_list_price_are_listed_with_the_reason(small: str) -> None:
    channel = build.channel("https://api.openai.com/v1", name="more")
    build.model("large", channel, upstream_model="large")
    build.model("painter", channel, kind="image", upstream_model="painter")
    build.model("seen", channel, upstream_model="seen")
    build.model("local", build.channel("http://127.0.0.1:1/v1"), upstream_model="local")
    build.model("nowhere")
    with price_data({"openai": {**DATA["openai"], "seen": usd("1", "1", output_citation_mtok="2")}}):
        compared = compare()
    assert [row.model for row in compared.known] == [small]
    assert {row.model: row.reason for row in compared.unknown} == {
        "large": "The price data has no model 'large' of openai.",
        "local": "The provider is not in the price data.",
        "nowhere": "No enabled channel serves the model.",
        "painter": "Models of kind image are not compared, only chat and embedding.",
        "seen": "The price of openai/seen has units without a rate here: output_citation_mtok.",
    }


def test_filters_and_their_errors(small: str) -> None:
    build.model("other", build.channel("https://api.openai.com/v1", name="second"), upstream_model="other")
    with price_data(DATA):
        assert [row.model for row in compare(models=[small]).known] == [small]
        assert [row.model for row in compare(channel="second").unknown] == ["other"]
        with pytest.raises(NotFound, match="No model 'nobody'"):
            compare(models=["nobody"])
        with pytest.raises(NotFound):
            compare(channel="nobody")
        with pytest.raises(InvalidInput, match="markup"):
            compare(markup_percent=-1)


def test_models_below_cost(bound_database: Any) -> None:
    channel = build.channel("https://api.openai.com/v1")
    for id, cost, columns in (
        ("unknown", (None, None), {}),
        ("equal", (100, 300), {}),
        ("input", (101, None), {}),
        ("output", (0, 301), {}),
        ("free", (101, 301), {"is_free": True}),
        ("disabled", (101, 301), {"status": "disabled"}),
        ("raised", (101, 301), {}),
    ):
        build.model(id, channel, **columns)
        costs = {"cost_per_1k_input": cost[0], "cost_per_1k_output": cost[1]}
        ChannelModel.update(costs).where(ChannelModel.model == id).execute()
    assert "raised" in models_below_cost()
    set_price("raised", Rates(200, 400), origin=ORIGIN)
    set_price("equal", Rates(1, 1), now_ms() + 3_600_000, origin=ORIGIN)
    assert models_below_cost() == {"input", "output"}
