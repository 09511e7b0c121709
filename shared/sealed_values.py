"""Everything in the database that is sealed with SECRET_KEY, and whether a key opens it."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import peewee

from shared.errors import SettingsError
from shared.models import Channel, MediaJob, StaffUser, WebhookSecret
from shared.secrets import CHANNEL_SECRET, MEDIA_REQUEST, SECOND_FACTOR, WEBHOOK_SECRET, unseal

log = logging.getLogger("yout.start")

_SAMPLE = 50  # rows of a table that are tried at start; opening one takes some 50 us


class SealedColumn(NamedTuple):
    """A column of sealed values; "" and NULL hold nothing. `label` is what a row's value is called."""

    field: Any
    purpose: str
    label: str

    @property
    def is_filled(self) -> Any:
        return self.field.is_null(False) & (self.field != "")


# What was sealed on purpose comes first: it says best whether a key is right.
SEALED = (
    SealedColumn(Channel.sealed_secret, CHANNEL_SECRET, "channel secrets"),
    SealedColumn(StaffUser.sealed_totp, SECOND_FACTOR, "second factors"),
    SealedColumn(WebhookSecret.sealed_secret, WEBHOOK_SECRET, "webhook secrets"),
    SealedColumn(MediaJob.sealed_params, MEDIA_REQUEST, "requests of open media jobs"),
)


def require_secret_key(database: peewee.Database, secret_key: str) -> None:
    """Raise `SettingsError` if `secret_key` opens no channel's secret, or nothing at all; log a warning if it opens only some.

    A database in which nothing is sealed yet accepts any key. A sample of the newest rows is tried, not all.
    """
    opened: dict[str, int] = {}
    wrong: dict[str, int] = {}
    with database.bind_ctx([column.field.model for column in SEALED], bind_refs=False, bind_backrefs=False):
        for column in SEALED:
            values = _newest(column)
            opened[column.label] = sum(opens(value, secret_key, column.purpose) for value in values)
            wrong[column.label] = len(values) - opened[column.label]
    channels = SEALED[0].label
    if (wrong[channels] and not opened[channels]) or (any(wrong.values()) and not any(opened.values())):
        raise SettingsError(
            "SECRET_KEY is not the one that this database was set up with: its sealed secrets cannot be opened. Set it to the"
            " former value, or seal them with this one by `yout secret-key change`."
        )
    for label, count in wrong.items():
        if count:
            log.warning(
                "%d %s were sealed with another SECRET_KEY; run `yout secret-key change`, or enter them again", count, label
            )


def opens(value: str, secret_key: str, purpose: str) -> bool:
    """Whether `secret_key` opens the sealed `value`."""
    try:
        unseal(value, secret_key, purpose)
    except SettingsError:
        return False
    return True


def _newest(column: SealedColumn) -> list[str]:
    model = column.field.model
    rows = model.select(column.field).where(column.is_filled).order_by(model._meta.primary_key.desc()).limit(_SAMPLE)
    return [value for (value,) in rows.tuples()]
