"""Redeem codes: what they look like, and how one is turned into a payment.

A code is `YOUT-` and four groups of five characters of Crockford's base 32 (no I, L, O, U): 100 random bits. People may type it
in lower case, without the hyphens, and with O for 0 or I for 1. Only its SHA-256 is kept, with its first group to be known by.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple
from uuid import UUID

from shared.errors import InvalidInput
from shared.models import CodeBatch, RedeemCode
from shared.payments.base import Payment

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MARK = "YOUT"
_GROUPS, _GROUP = 4, 5
_MISREAD = str.maketrans("OIL", "011", "- \t\r\n")
_UNUSABLE = "This code is unknown, has been used, or has expired. Check it and try again."


class FreshCode(NamedTuple):
    """A code just made: `text` is known here and nowhere else."""

    text: str
    digest: str
    prefix: str


def new_code() -> FreshCode:
    """A code from the system's source of randomness."""
    groups = ["".join(secrets.choice(ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)]
    text = "-".join([MARK, *groups])
    return FreshCode(text, digest(text), f"{MARK}-{groups[0]}…")


def digest(text: str) -> str:
    """The SHA-256, in hex, of a code as it was made, however it was typed."""
    code = text.upper().translate(_MISREAD).removeprefix(MARK.translate(_MISREAD))
    return hashlib.sha256(code.encode()).hexdigest()


class Codes:
    """The provider: the proof is the code."""

    name = "code"

    def confirm(self, account: UUID, proof: str, now: int) -> Payment:
        """As `Provider.confirm`. An unknown, void, expired or used code is told alike, but for one's own."""
        row = RedeemCode.select(RedeemCode, CodeBatch).join(CodeBatch).where(RedeemCode.digest == digest(proof)).first()
        if row is None:
            raise InvalidInput(_UNUSABLE)
        if row.account_id == account:
            raise InvalidInput("You have redeemed this code already.")
        if row.batch.expires_at is not None and row.batch.expires_at <= now:
            raise InvalidInput(_UNUSABLE)
        unused = (RedeemCode.id == row.id) & RedeemCode.redeemed_at.is_null() & RedeemCode.voided_at.is_null()
        if not RedeemCode.update(account=account, redeemed_at=now).where(unused).execute():
            raise InvalidInput(_UNUSABLE)
        return Payment(row.id.hex, row.batch.credits, f"code {row.prefix}")
