"""Existing keys keep the permission to manage keys only if they have no limits."""

from __future__ import annotations

import peewee
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import ApiKey
from tests import factories

NAME = "0015_add_key_families"


def test_only_keys_without_limits_keep_the_permission_to_manage(bound_database: peewee.Database) -> None:
    owner = factories.account()
    plain, limited = factories.api_key(owner)[0], factories.api_key(owner, monthly_credit_limit=5, can_manage=True)[0]
    Runner(bound_database, str(MIGRATIONS)).down(NAME)
    assert NAME in migrate(bound_database)
    assert [ApiKey.get_by_id(row.id).can_manage for row in (plain, limited)] == [True, False]
