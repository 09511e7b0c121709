"""Database columns that are encrypted with SECRET_KEY, and the check that the key can decrypt them."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import peewee

from shared.core.errors import SettingsError
from shared.core.secrets import CHANNEL_SECRET, MEDIA_REQUEST, SECOND_FACTOR, WEBHOOK_SECRET, can_decrypt
from shared.models import Channel, MediaJob, Person, StaffUser, WebhookSecret

log = logging.getLogger("yout.start")

_SAMPLE = 50  # rows per table checked at startup; each takes about 50 us


class SealedColumn(NamedTuple):
    """A column of encrypted values; "" and NULL mean none. `label` is a plural noun for messages."""

    field: Any
    purpose: str
    label: str

    @property
    def is_filled(self) -> Any:
        return self.field.is_null(False) & (self.field != "")


# Channel secrets come first: they show most reliably whether the key is the right one.
SEALED_COLUMNS = (
    SealedColumn(Channel.sealed_secret, CHANNEL_SECRET, "channel secrets"),
    SealedColumn(StaffUser.sealed_totp, SECOND_FACTOR, "second factors"),
    SealedColumn(Person.sealed_totp, SECOND_FACTOR, "second factors of customers"),
    SealedColumn(WebhookSecret.sealed_secret, WEBHOOK_SECRET, "webhook secrets"),
    SealedColumn(MediaJob.sealed_params, MEDIA_REQUEST, "requests of open media jobs"),
)


def require_secret_key(database: peewee.Database, secret_key: str) -> None:
    """Raise `SettingsError` if `secret_key` decrypts no channel secret, or no value at all. Log a warning if it decrypts some.

    A database without encrypted values accepts any key. Only a sample of the latest rows is checked.
    """
    opened: dict[str, int] = {}
    wrong: dict[str, int] = {}
    with database.bind_ctx([column.field.model for column in SEALED_COLUMNS], bind_refs=False, bind_backrefs=False):
        for column in SEALED_COLUMNS:
            values = _newest(column)
            opened[column.label] = sum(can_decrypt(value, secret_key, column.purpose) for value in values)
            wrong[column.label] = len(values) - opened[column.label]
    channels = SEALED_COLUMNS[0].label
    if (wrong[channels] and not opened[channels]) or (any(wrong.values()) and not any(opened.values())):
        raise SettingsError(
            "SECRET_KEY is not the one that this database was set up with: its secrets cannot be decrypted. Set it to the"
            " former value, or set SECRET_KEY_FALLBACK to that and run `yout secret rotate`."
        )
    for label, count in wrong.items():
        if count:
            log.warning(
                "%d %s were encrypted with another SECRET_KEY; run `yout secret rotate --former` with it, or enter them again",
                count,
                label,
            )


def count_undecryptable(database: peewee.Database, secret_key: str) -> dict[str, int]:
    """Return by label how many values `secret_key` does not decrypt, of the sample that `require_secret_key` checks."""
    found = {}
    with database.bind_ctx([column.field.model for column in SEALED_COLUMNS], bind_refs=False, bind_backrefs=False):
        for column in SEALED_COLUMNS:
            wrong = sum(not can_decrypt(value, secret_key, column.purpose) for value in _newest(column))
            if wrong:
                found[column.label] = wrong
    return found


def _newest(column: SealedColumn) -> list[str]:
    model = column.field.model
    rows = model.select(column.field).where(column.is_filled).order_by(model._meta.primary_key.desc()).limit(_SAMPLE)
    return [value for (value,) in rows.tuples()]
