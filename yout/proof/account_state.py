"""Reads the account of a proof: samples of its balance while calls run, and its ledger, usage and holds afterwards."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from types import TracebackType
from uuid import UUID

from peewee import PeeweeException, fn

from shared.core.clock import now_ms
from shared.core.database import database, snapshot
from shared.ledger import sweep
from shared.models import Account, Hold, LedgerEntry, MediaJob, UsageLedger
from yout.proof.accounting import AccountState, Sample

SAMPLE_SECONDS = 0.01
SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.2


class Sampler:
    """Reads balance and held credits continuously, in a thread and connection of its own, while the block runs."""

    def __init__(self, account: UUID) -> None:
        self.samples = 0
        self.worst: Sample | None = None  # the one closest to an overdraft
        self._account = account
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_SECONDS):
            try:
                with database.connection_context():
                    self._sample()
            except PeeweeException:  # the database is down; sampling continues when it is back
                time.sleep(POLL_SECONDS)

    def _sample(self) -> None:
        while not self._stopping.wait(SAMPLE_SECONDS):
            row = Account.select(Account.balance, Account.held).where(Account.id == self._account).tuples().first()
            if row is None:
                return
            sample = Sample(*row)
            self.samples += 1
            if self.worst is None or sample.balance - sample.held < self.worst.balance - self.worst.held:
                self.worst = sample


def wait_until_settled(account: UUID, *, seconds: float = SETTLE_SECONDS) -> bool:
    """Sweep, and wait until no call of the account holds credits and none of its jobs runs. Returns False after `seconds`.

    The sweep expires only holds that are past their deadline, or whose edge is no longer registered: not those of edges whose
    heartbeats are late.
    """
    deadline = time.monotonic() + seconds
    while True:
        sweep(now_ms(), expire_silent=False)
        holds = Hold.select().where((Hold.account == account) & (Hold.state == "held")).exists()
        jobs = MediaJob.select().where((MediaJob.account == account) & MediaJob.finished_at.is_null()).exists()
        if not (holds or jobs) or time.monotonic() > deadline:
            return not (holds or jobs)
        time.sleep(POLL_SECONDS)


def read_account_state(account: UUID, granted: int) -> AccountState:
    """Read everything in one snapshot. A call's number is the tag of its usage row."""
    with snapshot():
        row = Account.get_by_id(account)
        usage = UsageLedger.select(UsageLedger.id, UsageLedger.tag).where(UsageLedger.account == account)
        numbers = {used.id: int(used.tag) for used in usage if used.tag is not None}
        charged: dict[int, int] = defaultdict(int)
        unexplained = adjusted = 0
        for entry in LedgerEntry.select().where(LedgerEntry.account == account):
            if entry.kind == "charge" and entry.call in numbers:
                charged[numbers[entry.call]] -= entry.amount
            elif entry.kind == "charge":
                unexplained -= entry.amount
            elif entry.kind != "grant":
                adjusted += entry.amount
        own = (Hold.account == account) & (Hold.state == "held")
        open_holds = Hold.select(fn.COALESCE(fn.SUM(Hold.amount), 0)).where(own).scalar()
    return AccountState(granted, row.balance, row.held, int(open_holds), dict(charged), unexplained, adjusted)
