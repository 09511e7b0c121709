"""Look-ups by digest return the same as Peewee's own query, on each database, for every kind of column."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from edge.store.digest_query import DigestQuery
from shared.models import Account, ApiKey
from tests import factories


def _select() -> Any:
    columns = (ApiKey.id, ApiKey.digest, ApiKey.allowed_models, ApiKey.can_manage, ApiKey.expires_at, Account.status)
    return ApiKey.select(*columns).join(Account)


QUERY = DigestQuery(_select, ApiKey)  # one for both databases, as in the product


@pytest.mark.parametrize("models", [None, ["m-1", "m-2"]])
def test_a_row_is_what_peewee_returns(bound_database: Any, models: list[str] | None) -> None:
    channel = factories.channel("http://127.0.0.1:9/v1")
    for model in models or ():
        factories.model(model, channel)
    owner = factories.account(credits=1)
    keys = [factories.api_key(owner, allowed_models=models)[0] for _ in range(2)]
    for key in keys:
        row = QUERY.row(key.digest)
        assert row == _select().where(ApiKey.digest == key.digest).tuples().get()
        assert row is not None
        assert isinstance(row[0], UUID)
        assert row[2] == models


def test_an_unknown_digest_has_no_row(bound_database: Any) -> None:
    factories.api_key(factories.account(credits=1))
    assert QUERY.row("0" * 64) is None
    assert QUERY.row("?") is None
