"""Redeem codes: their format, and the payment provider that accepts them.

A code is `YOUT-` and four groups of five characters of Crockford's base 32 (no I, L, O, U): 100 random bits. Lower case, missing
hyphens, O for 0 and I for 1 are accepted. Only the SHA-256 is stored, and the first group for display.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple
from uuid import UUID

from shared.core.errors import InvalidInput
from shared.models import CodeBatch, RedeemCode
from shared.payments.base import Payment
from shared.text.translation import lazy_gettext

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "YOUT"
_GROUPS, _GROUP = 4, 5
_MISREAD = str.maketrans("OIL", "011", "- \t\r\n")
_UNUSABLE = lazy_gettext("This code is unknown, has been used, or has expired. Check it and try again.")


class NewCode(NamedTuple):
    """A new code. Only here is the `text` available: the database stores its digest."""

    text: str
    digest: str
    prefix: str


def new_code() -> NewCode:
    """Create a code from the system's random source."""
    groups = ["".join(secrets.choice(ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)]
    text = "-".join([PREFIX, *groups])
    return NewCode(text, digest(text), f"{PREFIX}-{groups[0]}…")


def digest(text: str) -> str:
    """Return the SHA-256 of a code in hex, in whatever spelling it was typed."""
    code = text.upper().translate(_MISREAD).removeprefix(PREFIX.translate(_MISREAD))
    return hashlib.sha256(code.encode()).hexdigest()


class RedeemCodeProvider:
    """Payment provider whose proof is a redeem code."""

    name = "code"

    def confirm(self, account: UUID, proof: str, now: int) -> Payment:
        """See `Provider.confirm`. Unknown, void, expired and used codes get the same message, except one's own used code."""
        row = RedeemCode.select(RedeemCode, CodeBatch).join(CodeBatch).where(RedeemCode.digest == digest(proof)).first()
        if row is None:
            raise InvalidInput(_UNUSABLE)
        if row.account_id == account:
            raise InvalidInput(lazy_gettext("You have already redeemed this code."))
        if row.batch.expires_at is not None and row.batch.expires_at <= now:
            raise InvalidInput(_UNUSABLE)
        unused = (RedeemCode.id == row.id) & RedeemCode.redeemed_at.is_null() & RedeemCode.voided_at.is_null()
        if not RedeemCode.update(account=account, redeemed_at=now).where(unused).execute():
            raise InvalidInput(_UNUSABLE)
        return Payment(row.id.hex, row.batch.credits, f"code {row.prefix}")
