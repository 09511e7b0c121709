"""Rows created by the factories satisfy the product's invariants."""

from __future__ import annotations

import peewee
import pytest

from shared.core.secrets import unseal
from shared.identity.api_key_format import digest
from shared.models import AIModel, ApiKey, CatalogVersion, ChannelModel, LedgerEntry, Price
from tests import factories
from tests.servers.edge import SECRET_KEY

pytestmark = pytest.mark.usefixtures("bound_database")


def test_an_account_s_balance_is_the_sum_of_its_ledger() -> None:
    owner = factories.account(credits=500)
    [entry] = LedgerEntry.select().where(LedgerEntry.account == owner)
    assert (entry.seq, entry.kind, entry.amount, entry.balance_after) == (owner.ledger_seq, "grant", 500, owner.balance)


def test_an_account_may_have_no_credits() -> None:
    assert factories.account(credits=0).balance == 0


def test_a_key_is_found_by_the_digest_of_its_secret() -> None:
    row, secret = factories.api_key(factories.account())
    assert ApiKey.get(ApiKey.digest == digest(secret)).id == row.id


def test_a_model_has_a_price_a_route_and_raises_the_catalog_version() -> None:
    before = CatalogVersion.get().version
    first, second = factories.channel("http://127.0.0.1:1/v1"), factories.channel("http://127.0.0.1:2/v1")
    made = factories.model("m-1", first, second, input=200, output=800, per_call=5)
    price = Price.get(Price.model == made)
    assert (price.credits_per_1k_input, price.credits_per_1k_output, price.credits_per_call) == (200, 800, 5)
    served_by = ChannelModel.select().where(ChannelModel.model == made).order_by(ChannelModel.priority)
    assert [row.channel.id for row in served_by] == [first.id, second.id]
    assert unseal(first.sealed_secret, SECRET_KEY) == factories.UPSTREAM_SECRET
    assert AIModel.get_by_id("m-1").status == "active"
    assert CatalogVersion.get().version > before


def test_tests_do_not_share_rows(bound_database: peewee.Database) -> None:
    assert ApiKey.select().count() == 0
    assert LedgerEntry.select().count() == 0
