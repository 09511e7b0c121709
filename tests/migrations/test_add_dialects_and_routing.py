"""The migration that widens CHECK constraints keeps rows, indexes and foreign keys, up and down, on both databases."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.clock import new_id
from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import MODELS, AIModel, Channel, ChannelModel, Price
from tests import factories
from tests.databases import opened
from tests.shared.core.test_schema_version import schema_of

NAME = "0007_add_dialects_and_routing"


def count(target: peewee.Database, table: str) -> int:
    number: int = target.execute_sql(f"SELECT count(*) FROM {table}").fetchone()[0]
    return number


def test_rows_survive_both_directions(any_database_url: str) -> None:
    with opened(any_database_url) as target, target.bind_ctx(MODELS):
        channel = factories.channel("http://127.0.0.1:9/v1")
        factories.model("m-1", channel)
        schema = schema_of(target)
        Runner(target, str(MIGRATIONS)).down(NAME)
        tables = ("channel", "model", "channel_model", "price")
        assert [count(target, table) for table in tables] == [1, 1, 1, 1]
        refused_kind(target)
        migrate(target)
        assert schema_of(target) == schema
        assert [count(target, table) for table in tables] == [1, 1, 1, 1]
        assert Price.get().credits_per_1k_cache_write is None
        AIModel.create(id="m-2", kind="moderation")
        with pytest.raises(peewee.IntegrityError):
            ChannelModel.create(id=new_id(), channel=new_id(), model="m-2", upstream_model="x")  # the foreign key works


def refused_kind(target: peewee.Database) -> None:
    with pytest.raises(peewee.IntegrityError), target.atomic():
        target.execute_sql("UPDATE model SET kind = 'moderation'")


def test_it_cannot_be_undone_while_a_channel_needs_it(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        with target.bind_ctx((Channel,)):
            Channel.create(name="a", dialect="anthropic", base_url="https://example.invalid/v1")
        runner = Runner(target, str(MIGRATIONS))
        runner.down(next(row.name for row in runner.status() if row.name > NAME))  # later migrations must be undone first
        schema = schema_of(target)
        with pytest.raises((peewee.IntegrityError, RuntimeError)):
            runner.down(NAME)
        assert schema_of(target) == schema
        assert target.execute_sql("SELECT dialect FROM channel").fetchall() == [("anthropic",)]
