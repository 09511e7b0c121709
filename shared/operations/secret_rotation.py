"""Rotates SECRET_KEY: re-encrypts all values that are encrypted with a former key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.core.secrets import MEDIA_REQUEST, SECOND_FACTOR, WEBHOOK_SECRET, can_decrypt, seal, unseal
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.second_factor import PEOPLE, STAFF
from shared.sealed_columns import SEALED_COLUMNS, SealedColumn


class KeyChange(NamedTuple):
    """Numbers of values that were re-encrypted, and of values erased because no key could decrypt them."""

    sealed: int
    erased: int


def rotate_secret_key(former: Sequence[str], current: str, *, lost: bool = False, origin: Origin) -> KeyChange:
    """Re-encrypt with `current` all values that a `former` key decrypts, in one transaction, and leave the others unchanged.

    If the former key is `lost`, values that cannot be decrypted are erased: staff must enter the channels' secrets again,
    webhook secrets are generated again, and second factors must be set up again. Open media jobs run into their time limit.

    Raises `InvalidInput` if the former keys decrypt none of the values that `current` cannot decrypt.
    """
    current = str(current)  # without its fallback
    sealed = erased = failed = 0
    with transaction():
        for column in SEALED_COLUMNS:
            for row in list(column.field.model.select().where(column.is_filled)):
                value = row.__data__[column.field.name]
                if can_decrypt(value, current, column.purpose):
                    continue
                key = next((key for key in former if can_decrypt(value, key, column.purpose)), None)
                if key is not None:
                    sealed += _write(column, row, seal(unseal(value, key, column.purpose), current, column.purpose))
                elif lost:
                    erased += _erase(column, row)
                else:
                    failed += 1
        if failed and not sealed:
            raise InvalidInput(
                f"This is not the former SECRET_KEY: it decrypts none of the {failed} values that the current key cannot decrypt."
            )
        record_audit_entry(origin, "secret.rotate", "SECRET_KEY", after={"sealed": sealed, "erased": erased, "left": failed})
        bump_catalog_version()  # makes edge processes reload the channels
    return KeyChange(sealed, erased)


def _write(column: SealedColumn, row: Any, value: str) -> int:
    """Replace a value, unless it was changed since it was read. Returns how many were replaced."""
    model = column.field.model
    unchanged = (model._meta.primary_key == row._pk) & (column.field == row.__data__[column.field.name])
    return int(model.update({column.field: value}).where(unchanged).execute())


def _erase(column: SealedColumn, row: Any) -> int:
    """Erase a value that no key decrypts. Returns how many values were erased."""
    if column.purpose == MEDIA_REQUEST:
        return 0
    if column.purpose == WEBHOOK_SECRET:
        return int(row.delete_instance())
    if column.purpose == SECOND_FACTOR:
        kind = STAFF if column.field.model is STAFF.people else PEOPLE
        kind.codes.delete().where(kind.owner == row._pk).execute()
    return _write(column, row, "")
