"""Changing SECRET_KEY: what the former key sealed is sealed with the new one."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.database import transaction
from shared.errors import InvalidInput
from shared.models import StaffRecoveryCode
from shared.operations.audit import Origin, record
from shared.operations.version import bump_catalog_version
from shared.sealed_values import SEALED, SealedColumn, opens
from shared.secrets import MEDIA_REQUEST, SECOND_FACTOR, WEBHOOK_SECRET, seal, unseal


class KeyChange(NamedTuple):
    """How many values were sealed with the new key, and how many were erased because no key was there to open them."""

    sealed: int
    erased: int


def change_secret_key(former: str | None, current: str, *, actor: str, address: str = "") -> KeyChange:
    """Seal with `current` whatever the key `former` opens, in one transaction. What `current` opens already stays as it is.

    Without `former` (the key is lost) what cannot be opened is erased: channels are left without a secret until staff enter
    one, webhook secrets are created anew, second factors must be set up again. Open media jobs are left to their time limit.

    Raises `InvalidInput` if `former` opens nothing of what `current` doesn't open.
    """
    sealed = erased = failed = 0
    with transaction():
        for column in SEALED:
            for row in list(column.field.model.select().where(column.is_filled)):
                value = row.__data__[column.field.name]
                if opens(value, current, column.purpose):
                    continue
                if former is None:
                    erased += _erase(column, row)
                elif opens(value, former, column.purpose):
                    _write(column, row, seal(unseal(value, former, column.purpose), current, column.purpose))
                    sealed += 1
                else:
                    failed += 1
        if failed and not sealed:
            raise InvalidInput(
                f"That is not the former SECRET_KEY: it opens none of the {failed} values that the new one does not."
            )
        record(
            Origin(actor, address), "secret_key.change", "SECRET_KEY", after={"sealed": sealed, "erased": erased, "left": failed}
        )
        bump_catalog_version()  # so that running edges read the channels again
    return KeyChange(sealed, erased)


def _write(column: SealedColumn, row: Any, value: str) -> None:
    model = column.field.model
    model.update({column.field: value}).where(model._meta.primary_key == row._pk).execute()


def _erase(column: SealedColumn, row: Any) -> int:
    """Erase a value that nothing opens any more; return how many were erased."""
    if column.purpose == MEDIA_REQUEST:
        return 0
    if column.purpose == WEBHOOK_SECRET:
        return int(row.delete_instance())
    if column.purpose == SECOND_FACTOR:
        StaffRecoveryCode.delete().where(StaffRecoveryCode.staff == row._pk).execute()
    _write(column, row, "")
    return 1
