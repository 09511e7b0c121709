"""The media migration rewrites two tables on SQLite; their rows, and rows that reference them, survive."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import Plan, Price, Subscription
from tests import factories


def test_rows_survive_both_directions(bound_database: peewee.Database) -> None:
    owner = factories.account()
    plan = Plan.create(name="Studio", monthly_credits=5, media_days=3)
    Subscription.create(account=owner, plan=plan)
    factories.model("m-1", factories.channel("http://127.0.0.1:1"), per_call=7)
    Runner(bound_database, str(MIGRATIONS)).down("0005_add_media_jobs")
    migrate(bound_database)
    kept, price = Plan.get(), Price.get()
    assert (kept.name, kept.monthly_credits, kept.media_days) == ("Studio", 5, None)
    assert (price.credits_per_call, price.credits_per_5_seconds) == (7, None)
    assert Subscription.get().plan == kept
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        Plan.update(media_days=0).execute()
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        Plan.delete().execute()  # the subscription still references the plan
