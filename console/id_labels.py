"""Looks up display names by id, in one query for all rows of a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from shared.models import Account, AIModel, ApiKey, Channel


def account_emails(accounts: Iterable[UUID]) -> dict[UUID, str]:
    """Return the emails of accounts by id. Deleted rows are missing, here and below."""
    return _names_by_id(Account, Account.email, accounts)


def channel_names(channels: Iterable[UUID | None]) -> dict[UUID, str]:
    return _names_by_id(Channel, Channel.name, (channel for channel in channels if channel is not None))


def key_labels(ids: Iterable[UUID | None]) -> dict[UUID, ApiKey]:
    """Return keys by id, with only their names and prefixes."""
    unique = list({id for id in ids if id is not None})
    shown = (ApiKey.id, ApiKey.name, ApiKey.prefix)
    return {row.id: row for row in ApiKey.select(*shown).where(ApiKey.id.in_(unique))} if unique else {}


def model_ids() -> list[str]:
    """Return the ids of all models, for a select field."""
    return [row.id for row in AIModel.select(AIModel.id).order_by(AIModel.id)]


def channel_choices() -> list[tuple[str, str]]:
    """Return (id, name) of all channels, for a select field."""
    return [(str(row.id), row.name) for row in Channel.select(Channel.id, Channel.name).order_by(Channel.name)]


def _names_by_id(model: Any, name: Any, ids: Iterable[UUID]) -> dict[UUID, str]:
    unique = list(set(ids))
    return dict(model.select(model.id, name).where(model.id.in_(unique)).tuples()) if unique else {}
