"""The page of list prices: what it shows, what it publishes at once, and what it refuses."""

from __future__ import annotations

import re

import pytest

from shared.models import AuditEntry, ChannelModel, Price, PriceDraft
from shared.operations.prices import Rates, set_price
from shared.operations.prices_in_force import current_price
from tests import factories
from tests.factories import ORIGIN
from tests.shared.catalog.price_data import price_data, usd

LIST_PRICES = {"openai": {"acme-model": usd("0.15", "0.6"), "same": usd("0.1", "0.3")}}


def test_list_prices_are_compared_and_several_published_at_once(signed_in):
    channel = factories.channel("https://api.openai.com/v1")
    for id in ("m-1", "m-2"):
        factories.model(id, channel)
    factories.model("same", channel, upstream_model="same")
    factories.model("local", factories.channel("http://127.0.0.1:1/v1"))
    browser = signed_in("billing")
    with price_data(LIST_PRICES):
        page = browser.get("/list-prices/?markup=0&select=all")
        tokens = re.findall(r'name="models" value="(\w+)" aria-label="Select ([\w-]+)" checked', page.text)
        assert [model for _, model in tokens] == ["m-1", "m-2"]
        assert "The provider is not in the price data." in browser.get("/list-prices/?show=unknown").text
        assert "same" in browser.get("/list-prices/?show=all&markup=0").text
        selected = [token for token, _ in tokens]
        filled = {**browser.form("/list-prices/?markup=0", "/list-prices/"), "models": selected, "publish": "y"}
        answer = browser.post("/list-prices/", filled, follow_redirects=True)
        assert "2 prices published." in answer.text
        assert [current_price(id).credits_per_1k_input for id in ("m-1", "m-2", "same")] == [150, 150, 100]
        assert "Your prices match the list prices" in answer.text
        assert "Only the first submission counts" in browser.post("/list-prices/", filled, follow_redirects=True).text
    assert AuditEntry.select().where(AuditEntry.action == "price.set").count() == 2


def test_list_prices_are_saved_as_drafts_with_a_markup(signed_in):
    factories.model("m-1", factories.channel("https://api.openai.com/v1"))
    browser = signed_in("owner")
    with price_data(LIST_PRICES):
        page = browser.get("/list-prices/?markup=50").text
        token = re.search(r'name="models" value="(\w+)"', page).group(1)
        answer = browser.submit_form("/list-prices/?markup=50", "/list-prices/", models=token)
    assert "1 price saved as a draft." in answer.text
    assert (PriceDraft.get().credits_per_1k_input, current_price("m-1").credits_per_1k_input) == (225, 100)


@pytest.mark.parametrize("change", ["price", "list price", "nothing selected", "markup"])
def test_list_prices_that_are_not_as_shown_are_not_published(signed_in, change):
    factories.model("m-1", factories.channel("https://api.openai.com/v1"))
    browser = signed_in("owner")
    with price_data(LIST_PRICES):
        page = browser.get("/list-prices/").text
        token = re.search(r'name="models" value="(\w+)"', page).group(1)
        filled = {**browser.form("/list-prices/", "/list-prices/"), "models": token, "publish": "y"}
    if change == "price":
        set_price("m-1", Rates(input=1), origin=ORIGIN)
    elif change == "nothing selected":
        del filled["models"]
    elif change == "markup":
        filled["markup"] = "-1"
    prices = Price.select().count()
    with price_data({"openai": {"acme-model": usd("9", "9")}} if change == "list price" else LIST_PRICES):
        assert browser.post("/list-prices/", filled).status_code == 422
    assert Price.select().count() == prices


@pytest.mark.parametrize("role", ["support", "readonly"])
def test_list_prices_are_shown_to_everyone_and_published_by_some(signed_in, role):
    factories.model("m-1", factories.channel("https://api.openai.com/v1"))
    browser = signed_in(role)
    with price_data(LIST_PRICES):
        page = browser.get("/list-prices/")
        assert ("Publish selected" in page.text, "m-1" in page.text) == (False, True)
        assert [browser.get(f"/list-prices/?markup={text}").status_code for text in ("lots", "", "-1")] == [422] * 3


def test_home_warns_of_prices_below_cost(signed_in):
    factories.model("m-1", factories.channel("https://api.openai.com/v1"))
    factories.model("m-2", factories.channel("https://api.openai.com/v1"))
    browser = signed_in("readonly")
    assert "below cost" not in browser.get("/").text
    ChannelModel.update(cost_per_1k_input=101).where(ChannelModel.model == "m-1").execute()
    assert '<a class="worry" href="/models/?show=below">1 below cost</a>' in browser.get("/").text
    page = browser.get("/models/?show=below").text
    assert ("/models/id/m-1" in page, "/models/id/m-2" in page) == (True, False)
