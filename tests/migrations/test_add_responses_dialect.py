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
            factories.channel("http://127.0.0.1:9/v1", dialect="responses")
        assert NAME in migrate(target)
        assert schema_of(target) == schema
        factories.channel("http://127.0.0.1:9/v1", dialect="responses")
        with pytest.raises((peewee.IntegrityError, RuntimeError)):
            runner.down(NAME)
        assert schema_of(target) == schema
        assert sorted(row.dialect for row in Channel.select()) == ["gemini", "responses"]
