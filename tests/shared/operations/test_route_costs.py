"""Cost prices of routes: entered by staff, or taken from list prices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.billing.rates import Rate
from shared.catalog.list_prices import ListPrice
from shared.core.errors import InvalidInput
from shared.models import ChannelModel
from shared.operations.model_routes import update_route
from shared.operations.price_sync import list_costs
from shared.operations.route_costs import RouteCosts, format_costs, parse_costs
from tests import factories
from tests.factories import ORIGIN


def test_costs_are_parsed_and_formatted() -> None:
    text = "cached_input=0\ninput@200000=300\nper_call=40\ntier:flex=500\nweb_search=10000"
    assert parse_costs(text) == (
        Rate("cached_input", 0, 0),
        Rate("input", 200_000, 300),
        Rate("per_call", 0, 40),
        Rate("tier:flex", 0, 500),
        Rate("web_search", 0, 10_000),
    )
    assert format_costs([list(rate) for rate in parse_costs(text)]) == text
    assert parse_costs(" \n") == ()


@pytest.mark.parametrize(
    "text", ["input=100", "output=100", "per_call@5=3", "per_image=3", "cached_input=1\ncached_input=2", "per_call", "second=-1"]
)
def test_invalid_costs_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_costs(text)


def test_a_list_price_becomes_costs() -> None:
    usd = {
        "input": {0: Decimal("2.5"), 200_000: Decimal(5)},
        "output": {0: Decimal(10)},
        "cached_input": {0: Decimal("0.25")},
        "web_search": {0: Decimal(10)},
        "per_call": {0: Decimal(1)},
    }
    costs = list_costs(ListPrice("acme/m", usd, {"flex": Decimal("0.5")}), 1_000_000)
    assert (costs.input, costs.output) == (2_500, 10_000)
    assert format_costs(costs.further).splitlines() == [
        "cached_input=250", "input@200000=5000", "per_call=1000", "tier:flex=500", "web_search=10000",
    ]  # fmt: skip
    assert costs.columns()["further_costs"] == [list(rate) for rate in costs.further]


def test_costs_follow_the_list_price_until_they_are_changed(bound_database: object) -> None:
    factories.model("m-1", factories.channel("http://up"))
    route = ChannelModel.get()

    def update(costs: RouteCosts, weight: int = 1, *, listed: bool = False) -> bool:
        values = {"upstream_model": "m", "priority": 0, "weight": weight, "costs": costs, "follows_list": listed}
        return bool(update_route(route.id, **values, origin=ORIGIN).costs_listed)

    first, second = RouteCosts(10, 20), RouteCosts(10, 20, parse_costs("cached_input=1"))
    assert [update(first), update(first, listed=True), update(first, 5), update(second), update(second)] == [
        False, True, True, False, False,
    ]  # fmt: skip
