"""Looks up display names by id, in one query for all rows of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from flask import url_for

from shared.models import Account, AdminKey, AIModel, ApiKey, Channel, StaffUser
from shared.operations.admin_keys import ACTOR as ADMIN_KEY_ACTOR
from shared.operations.admin_keys import actor_of
from shared.operations.web_accounts import account_actor

_IS_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ActorLink(NamedTuple):
    """The name of an actor, and the page of the account, key or staff member."""

    label: str
    url: str


def actor_links(actors: Iterable[str]) -> dict[str, ActorLink]:
    """Return the actors of audit and ledger entries that are accounts, keys, admin keys or staff; others, such as `seed`, are
    missing.
    """
    unique = set(actors)
    accounts = {account_actor(row.id): row for row in _rows(Account, Account.email, Account.id, _ids(unique))}
    keys = {f"key:{row.prefix}": row for row in _rows(ApiKey, ApiKey.name, ApiKey.prefix, _without("key:", unique))}
    staff = {row.email: row for row in _rows(StaffUser, StaffUser.email, StaffUser.email, unique)}
    ids = [UUID(actor[-36:]) for actor in unique if actor.startswith(ADMIN_KEY_ACTOR) and _IS_ID.fullmatch(actor[-36:])]
    admin_keys = {actor_of(row): row for row in _rows(AdminKey, AdminKey.name, AdminKey.id, ids, AdminKey.prefix)}
    return {
        **{name: ActorLink(row.name, url_for("admin_keys.index", search=row.prefix)) for name, row in admin_keys.items()},
        **{name: ActorLink(row.email, url_for("accounts.detail", account_id=row.id)) for name, row in accounts.items()},
        **{name: ActorLink(row.name, url_for("keys.detail", key_id=row.id)) for name, row in keys.items()},
        **{name: ActorLink(row.email, url_for("staff.detail", staff_id=row.id)) for name, row in staff.items()},
    }


def _rows(model: Any, label: Any, column: Any, values: Iterable[Any], *more: Any) -> Iterable[Any]:
    wanted = list(values)
    return model.select(model.id, label, column, *more).where(column.in_(wanted)) if wanted else ()


def _without(prefix: str, actors: Iterable[str]) -> list[str]:
    return [actor.removeprefix(prefix) for actor in actors if actor.startswith(prefix)]


def _ids(actors: Iterable[str]) -> list[UUID]:
    texts = _without(account_actor(""), actors)
    return [UUID(text) for text in texts if _IS_ID.fullmatch(text)]


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
