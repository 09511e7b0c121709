"""What calls cost the operator, on Home, in Usage and on the pages of channels and routes."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.models import Channel, ChannelCheck, ChannelModel, PriceCheck, UsageLedger
from shared.operations.channel_checks import MIN_CALLS, check_channels
from shared.operations.model_routes import pause_channel
from shared.operations.price_check import check_prices
from tests import factories
from tests.console.test_pages import usage_row
from tests.factories import ORIGIN
from tests.shared.catalog.price_data import price_data, usd


@pytest.fixture
def calls(bound_database: Any) -> Channel:
    """20 calls of `m-1` for 100 credits that cost 120, and one of `m-2` whose cost is unknown."""
    owner = factories.account(email="mira@example.com")
    channel = factories.channel("https://api.openai.com/v1", name="east")
    for id in ("m-1", "m-2"):
        factories.model(id, channel, costs=(120, 360))
    values = {"channel": channel.id, "credits": 100, "created_at": now_ms() - 60_000}
    for _ in range(MIN_CALLS):
        usage_row(owner, model="m-1", provider_cost=120, **values)
    usage_row(owner, model="m-2", **values)
    return channel


def cells(page: str, name: str) -> list[str]:
    """The texts of the cells of the row that begins with `name`."""
    row = next(row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f">{name}</a>" in row)
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]


def test_home_shows_margins_by_model_channel_and_account(calls: Channel, signed_in: Any) -> None:
    page = signed_in("readonly").get("/").text
    margin = "\u221220.00\u202f%"
    assert [cells(page, name)[-1] for name in ("m-1", "m-2", "east", "mira@example.com")] == [margin, "–", margin, margin]
    assert "\u2212400 of 2\u202f000 credits with a known cost" in page


def test_usage_shows_the_cost_of_each_call(calls: Channel, signed_in: Any) -> None:
    browser = signed_in("readonly")
    page = browser.get("/usage/?range=24h").text
    assert "provider cost 2\u202f400 of 2\u202f000 credits" in page
    assert "\u221220.00\u202f%" in page
    estimated = browser.get("/usage/?estimated=no").text  # a filter that the sums lack
    assert "\u221220.00\u202f%" in estimated
    rows = list(csv.DictReader(io.StringIO(browser.get("/usage/usage.csv").text.removeprefix("\ufeff"))))
    assert sorted(row["provider_cost"] for row in rows) == ["", *["120"] * MIN_CALLS]
    for cost, shown in ((120, "120 credits"), (None, "unknown")):
        is_wanted = UsageLedger.provider_cost.is_null() if cost is None else UsageLedger.provider_cost == cost
        call = UsageLedger.get(is_wanted)
        receipt = browser.get(f"/usage/{call.id}").text
        assert re.search(rf"<dt>Provider cost</dt><dd>{shown}</dd>", receipt)


def test_a_channel_is_flagged_and_its_rule_edited(calls: Channel, signed_in: Any) -> None:
    browser, path = signed_in("owner"), f"/channels/{calls.id}"
    assert "Not checked yet" in browser.get(path).text
    assert check_channels(now_ms()) == ["east"]
    sentence = "The margin of \u221220.0 % is below 0 %."
    for page in ("/", path):
        assert sentence in browser.get(page).text
    assert ">flagged</span>" in browser.get("/channels/").text
    answer = browser.submit_form(path, f"{path}/rule", margin_floor="-1001", count_tolerance="3")
    assert answer.status_code == 422
    answer = browser.submit_form(path, f"{path}/rule", margin_floor="-10", count_tolerance="3", pauses_when_flagged="y")
    assert "Rule updated." in answer.text
    check_channels(now_ms())
    row = Channel.get_by_id(calls.id)
    assert (row.margin_floor, row.count_tolerance, row.out_reason) == (-10, 3, "The margin of \u221220.0 % is below -10 %.")
    assert "The margin of \u221220.0 % is below -10 %." in browser.get(path).text
    pause_channel("east", 0, "", origin=ORIGIN)
    assert ChannelCheck.get().flagged_at is None
    assert "is below" not in browser.get("/").text


def test_only_owners_edit_rules(calls: Channel, signed_in: Any) -> None:
    assert "Edit rule" not in signed_in("support").get(f"/channels/{calls.id}").text


def test_home_shows_the_price_check(calls: Channel, signed_in: Any) -> None:
    browser = signed_in("readonly")
    assert "list prices not compared yet" in browser.get("/").text
    with price_data({"openai": {"acme-model": usd("0.15", "0.3")}}):
        check_prices(now_ms(), 1_000_000, origin=ORIGIN)
    page = browser.get("/").text
    assert "m-1 (input), m-2 (input)" in page
    assert "list prices</a> compared" in page
    assert PriceCheck.get().checked_at is not None


def test_costs_of_a_route_are_edited(calls: Channel, signed_in: Any) -> None:
    route = ChannelModel.get(ChannelModel.model == "m-1")
    browser, path = signed_in("owner"), f"/routes/{route.id}"
    values = {"upstream_model": "x", "priority": "0", "weight": "1", "cost_input": "100", "cost_output": "300"}
    answer = browser.submit_form(path, path, **values, further_costs="cached_input=lots")
    assert (answer.status_code, "A rate must look like" in answer.text) == (422, True)
    browser.submit_form(path, path, **values, further_costs="cached_input=10\r\nper_call=5\r\n")
    row = ChannelModel.get_by_id(route.id)
    assert (row.cost_per_1k_input, row.further_costs) == (100, [["cached_input", 0, 10], ["per_call", 0, 5]])
    assert "cached_input=10\nper_call=5" in browser.get(path).text.replace("\r\n", "\n")
