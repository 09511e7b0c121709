"""What a provider of payments must offer."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID


class Payment(NamedTuple):
    """That credits were paid for. `reference` is the provider's own name for it (200 characters at most), never a secret."""

    reference: str
    credits: int
    reason: str


class Provider(Protocol):
    """One way to pay."""

    name: str
    """Its name in the table of payments, 32 characters at most. It never changes."""

    def confirm(self, account: UUID, proof: str, now: int) -> Payment:
        """Check `proof` and mark it as used by `account`, at `now` (milliseconds UTC).

        Runs inside the transaction that books the payment, with the account locked: what it writes stays only if the credits do.
        It must not wait for another machine. Raises `InvalidInput` for a proof that is no good, with words for the payer.
        """
        ...
