"""Holds of unfinished calls, created through the ledger, and checks of what happened to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg

from shared import ledger
from shared.billing.pricing import PriceList, Quote
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.identity.api_key_format import digest
from shared.identity.payer import KeyPayer
from shared.ledger import Claim, HoldTaken, Reservation, Settlement
from shared.ledger.verify import verify_ledger
from shared.models import Account, Hold, UsageLedger
from tests import factories

PRICE = PriceList(uuid4(), 0, 1_000, 1_000, None, 0, 0)
AMOUNT = 100
HOUR_MS = 3_600_000


class Customer:
    """An account with one key."""

    def __init__(self, credits: int = 1_000_000) -> None:
        self.account = factories.account(credits).id
        self._digest = digest(factories.api_key(self.account_row())[1])

    def account_row(self) -> Account:
        row: Account = Account.get_by_id(self.account)
        return row

    def hold(
        self, count: int = 1, *, lasts_ms: int = -1, edge_process: UUID | None = None, claim: Claim | None = None
    ) -> list[UUID]:
        """Create `count` holds of `AMOUNT`, by default already overdue; returns the ids of their calls."""
        now = now_ms()
        asks = [
            Reservation(
                *(new_id(), "m-1", Quote(PRICE, AMOUNT, AMOUNT, 10, 90), now + lasts_ms, KeyPayer(self._digest)),
                edge_process=edge_process,
                claim=claim,
            )
            for _ in range(count)
        ]
        with transaction():
            results = ledger.reserve(asks, now)
        assert all(isinstance(result, HoldTaken) for result in results), results
        return [ask.call for ask in asks]

    def settle(self, call: UUID, cost: int, **columns: Any) -> ledger.Settled:
        """Settle one finished call, as an edge does."""
        now = now_ms()  # not an earlier time: workers would sum the usage of every hour since then
        item = Settlement(call, self.account, cost, "completed", price=PRICE.id, model="m-1", created_at=now, **columns)
        with transaction():
            return ledger.settle([item], now)[0]

    @property
    def held(self) -> int:
        return int(self.account_row().held)


def state_of(call: UUID) -> str:
    """The state of a call's hold, or `none` if it has none, as after its settlement."""
    hold = Hold.get_or_none(Hold.id == call)
    return "none" if hold is None else str(hold.state)


def expired_calls() -> int:
    """The number of usage rows of swept calls."""
    return int(UsageLedger.select().where(UsageLedger.status == "expired").count())


def assert_ledger_verifies() -> None:
    """Every balance matches its ledger, every `held` matches its open holds, and nothing is overdue."""
    assert verify_ledger(now_ms() + HOUR_MS // 60).problems == ()


@contextmanager
def locked(url: str, customer: Customer) -> Iterator[None]:
    """Lock the customer's account row for the duration of the block."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()
        return
    with psycopg.connect(url) as postgres:
        postgres.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (customer.account,))
        yield
