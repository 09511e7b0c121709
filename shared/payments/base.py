"""Interface of payment providers."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID


class Payment(NamedTuple):
    """A payment for credits. `reference` is the provider's id for it (at most 200 characters), never a secret."""

    reference: str
    credits: int
    reason: str


class Provider(Protocol):
    """A payment method."""

    name: str
    """Name in the `payment` table, at most 32 characters. It must never change."""

    def confirm(self, account: UUID, proof: str, now: int) -> Payment:
        """Check `proof` and mark it as used by `account` at `now` (milliseconds UTC).

        Runs inside the transaction that records the payment, with the account locked, so it is rolled back with it. Must not make
        network calls. Raises `InvalidInput` with a message for the payer if the proof is not valid.
        """
        ...
