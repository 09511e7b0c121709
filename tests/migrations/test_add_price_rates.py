"""Earlier prices have no further rates, except for Anthropic's one-hour cache. The database checks values."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.billing.rates import Rate
from shared.catalog.reader import load_catalog
from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import Price, PriceDraft, PriceRate
from shared.operations.price_drafts import save_draft
from shared.operations.prices import Rates, rates_of
from tests import factories
from tests.factories import ORIGIN

NAME = "0018_add_price_rates"


def test_earlier_prices_have_no_further_rates(bound_database: peewee.Database) -> None:
    factories.model("m", factories.channel("https://example.com/v1"), cache_write=7)
    factories.model("claude", factories.channel("https://example.com/v1", dialect="anthropic"), cache_write=126)
    save_draft("m", Rates(2, 3), origin=ORIGIN)
    Runner(bound_database, str(MIGRATIONS)).down(NAME)
    assert "price_rate" not in bound_database.get_tables()
    assert NAME in migrate(bound_database)
    models = load_catalog().models
    assert models["m"].prices[0].rates == ()
    assert models["claude"].prices[0].rates == (Rate("cache_write_1h", 0, 202),)  # 2 / 1.25 times the rate of five minutes
    assert rates_of(PriceDraft.get()) == Rates(2, 3)


@pytest.mark.parametrize(
    ("kind", "above_tokens", "credits"),
    [("sound", 0, 1), ("tier:", 0, 1), ("audio_input", -1, 1), ("audio_input", 0, -1), ("audio_input", 0, 10**12 + 1)],
)
def test_the_database_refuses_impossible_rates(
    bound_database: peewee.Database, kind: str, above_tokens: int, credits: int
) -> None:
    factories.model("m", factories.channel("https://example.com/v1"))
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        PriceRate.create(price=Price.get(), kind=kind, above_tokens=above_tokens, credits=credits)
