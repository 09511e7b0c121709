"""Changes SECRET_KEY: re-encrypts all values that are encrypted with the former key."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.core.secrets import MEDIA_REQUEST, SECOND_FACTOR, WEBHOOK_SECRET, seal, unseal
from shared.models import StaffRecoveryCode
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.sealed_columns import SEALED_COLUMNS, SealedColumn, can_decrypt


class KeyChange(NamedTuple):
    """Numbers of values that were re-encrypted, and of values erased because no key could decrypt them."""

    sealed: int
    erased: int


def change_secret_key(former: str | None, current: str, *, origin: Origin) -> KeyChange:
    """Re-encrypt with `current` all values that `former` decrypts, in one transaction. Values that `current` decrypts stay.

    Without `former` (the key is lost), values that cannot be decrypted are erased: staff must enter the channels' secrets again,
    webhook secrets are generated again, and second factors must be set up again. Open media jobs run into their time limit.

    Raises `InvalidInput` if `former` decrypts none of the values that `current` cannot decrypt.
    """
    sealed = erased = failed = 0
    with transaction():
        for column in SEALED_COLUMNS:
            for row in list(column.field.model.select().where(column.is_filled)):
                value = row.__data__[column.field.name]
                if can_decrypt(value, current, column.purpose):
                    continue
                if former is None:
                    erased += _erase(column, row)
                elif can_decrypt(value, former, column.purpose):
                    _write(column, row, seal(unseal(value, former, column.purpose), current, column.purpose))
                    sealed += 1
                else:
                    failed += 1
        if failed and not sealed:
            raise InvalidInput(
                f"This is not the former SECRET_KEY: it decrypts none of the {failed} values that the current key cannot decrypt."
            )
        record_audit_entry(origin, "secret_key.change", "SECRET_KEY", after={"sealed": sealed, "erased": erased, "left": failed})
        bump_catalog_version()  # makes edge processes reload the channels
    return KeyChange(sealed, erased)


def _write(column: SealedColumn, row: Any, value: str) -> None:
    model = column.field.model
    model.update({column.field: value}).where(model._meta.primary_key == row._pk).execute()


def _erase(column: SealedColumn, row: Any) -> int:
    """Erase a value that no key decrypts. Returns how many values were erased."""
    if column.purpose == MEDIA_REQUEST:
        return 0
    if column.purpose == WEBHOOK_SECRET:
        return int(row.delete_instance())
    if column.purpose == SECOND_FACTOR:
        StaffRecoveryCode.delete().where(StaffRecoveryCode.staff == row._pk).execute()
    _write(column, row, "")
    return 1
