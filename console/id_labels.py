"""What rows refer to by id, by the names that people know: fetched together, only those that a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from shared.models import Account, AIModel, ApiKey, Channel


def emails(accounts: Iterable[UUID]) -> dict[UUID, str]:
    """The e-mail addresses of accounts, by id. Those that are gone are missing, here and below."""
    return _found(Account, Account.email, accounts)


def channel_names(channels: Iterable[UUID | None]) -> dict[UUID, str]:
    return _found(Channel, Channel.name, (channel for channel in channels if channel is not None))


def keys(ids: Iterable[UUID | None]) -> dict[UUID, ApiKey]:
    """Keys with their names and prefixes, and nothing else of them."""
    wanted = list({id for id in ids if id is not None})
    shown = (ApiKey.id, ApiKey.name, ApiKey.prefix)
    return {row.id: row for row in ApiKey.select(*shown).where(ApiKey.id.in_(wanted))} if wanted else {}


def models() -> list[str]:
    """The ids of all models, to choose from."""
    return [row.id for row in AIModel.select(AIModel.id).order_by(AIModel.id)]


def channels() -> list[tuple[str, str]]:
    """(id, name) of all channels, to choose from."""
    return [(str(row.id), row.name) for row in Channel.select(Channel.id, Channel.name).order_by(Channel.name)]


def _found(model: Any, name: Any, ids: Iterable[UUID]) -> dict[UUID, str]:
    wanted = list(set(ids))
    return dict(model.select(model.id, name).where(model.id.in_(wanted)).tuples()) if wanted else {}
