"""The migration that adds a dialect keeps channels, and cannot be undone while one uses it."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import MODELS, Channel
from tests import factories
from tests.databases import opened
from tests.shared.core.test_schema_version import schema_of

NAME = "0019_add_responses_dialect"


def test_channels_survive_both_directions(any_database_url: str) -> None:
    with opened(any_database_url) as target, target.bind_ctx(MODELS):
        factories.channel("http://127.0.0.1:9/v1", dialect="gemini")
        schema = schema_of(target)
        runner = Runner(target, str(MIGRATIONS))
        runner.down(NAME)
        with pytest.raises(peewee.IntegrityError), target.atomic():
            target.execute_sql("UPDATE channel SET dialect = 'responses'")
        assert NAME in migrate(target)
        assert schema_of(target) == schema
        assert [row.dialect for row in Channel.select()] == ["gemini"]


def test_it_cannot_be_undone_while_a_channel_needs_it(any_database_url: str) -> None:
    with opened(any_database_url) as target:
        with target.bind_ctx((Channel,)):
            Channel.create(name="a", dialect="responses", base_url="https://example.invalid/v1")
        runner = Runner(target, str(MIGRATIONS))
        later = next((row.name for row in runner.status() if row.name > NAME), None)
        if later is not None:
            runner.down(later)
        schema = schema_of(target)
        with pytest.raises((peewee.IntegrityError, RuntimeError)):
            runner.down(NAME)
        assert schema_of(target) == schema
        assert target.execute_sql("SELECT dialect FROM channel").fetchall() == [("responses",)]
