"""The daily price check: which models cost more at their providers than here, and costs that follow the list price."""

from __future__ import annotations

from typing import Any

import pytest

from shared.models import AIModel, ChannelModel, Price, PriceCheck, PriceDraft
from shared.operations.price_check import CHECK_AT_MS, RETRY_MS, CheckedPrices, check_prices_if_due, latest_check
from tests import factories
from tests.factories import ORIGIN
from tests.shared.catalog.price_data import price_data, usd
from tests.shared.rollup.conftest import DAY, NOON

USD = 1_000_000
DATA = {"openai": {"small": usd("0.15", "0.6", cache_read_mtok="0.075"), "large": usd("2", "8")}}


@pytest.fixture
def catalog(bound_database: Any) -> Any:
    PriceCheck.update(due_at=0).execute()
    channel = factories.channel("https://api.openai.com/v1", name="ours")
    factories.model("below", channel, input=100, output=700, upstream_model="small")
    factories.model("cached", channel, input=150, output=600, cached_input=70, upstream_model="small")
    factories.model("above", channel, input=150, output=600, upstream_model="small", costs=(1, 2))
    factories.model("gift", channel, input=0, output=0, is_free=True, upstream_model="large")
    factories.model("off", channel, input=1, output=1, status="disabled", upstream_model="large")
    factories.model("strange", channel, upstream_model="unheard-of")
    return channel


def check(now: int, data: Any = DATA) -> CheckedPrices | None:
    with price_data(data):
        return check_prices_if_due(now, USD, origin=ORIGIN)


def test_the_check_runs_once_a_day_and_is_stored(catalog: Any) -> None:
    assert latest_check() == CheckedPrices(None, [], [])
    found = check(NOON)
    assert found is not None
    assert [(one["model"], one["rates"], one["sources"]) for one in found.below] == [
        ("below", ["input"], ["openai/small"]),
        ("cached", ["cached_input"], ["openai/small"]),
    ]
    assert (found.checked_at, found.unknown, latest_check()) == (NOON, ["strange"], found)
    midnight = NOON - NOON % DAY + DAY
    assert [check(midnight), check(midnight + CHECK_AT_MS - 1)] == [None, None]
    raised = {"openai": {"small": usd("0.3", "0.6"), "large": usd("2", "8")}}
    again = check(midnight + CHECK_AT_MS, raised)
    assert again is not None
    assert [one["model"] for one in again.below] == ["above", "below", "cached"]
    assert not PriceDraft.select().exists(), "the check must not replace a draft"
    assert Price.select().count() == AIModel.select().count()


def test_costs_follow_the_list_price_unless_they_were_entered(catalog: Any) -> None:
    check(NOON)
    costs = {row.model_id: row for row in ChannelModel.select()}
    assert (costs["below"].cost_per_1k_input, costs["below"].cost_per_1k_output, costs["below"].costs_listed) == (150, 600, True)
    assert costs["below"].further_costs == [["cached_input", 0, 75]]
    assert (costs["above"].cost_per_1k_input, costs["above"].costs_listed) == (1, False)
    assert costs["strange"].cost_per_1k_input is None
    check(NOON + DAY, {"openai": {"small": usd("0.3", "0.6"), "large": usd("2", "8")}})
    costs = {row.model_id: row for row in ChannelModel.select()}
    assert (costs["below"].cost_per_1k_input, costs["below"].further_costs) == (300, [])
    assert costs["above"].cost_per_1k_input == 1


def test_a_failed_check_is_repeated(catalog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the data cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr("shared.operations.price_check.compare_prices", fail)
        with pytest.raises(OSError, match="cannot be read"):
            check(NOON)
    assert check(NOON + RETRY_MS - 1) is None
    assert PriceCheck.get().checked_at is None
    assert check(NOON + RETRY_MS) is not None
