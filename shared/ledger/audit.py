"""Verify: prove from the rows alone that every balance is the sum of its ledger and that no hold is stale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from shared.database import database, is_sqlite
from shared.ledger.rows import as_uuid, execute
from shared.ledger.sweep import ABANDONED, SILENT_MS

STALE_GRACE_MS = 60_000  # the sweeper's own time: a hold is stale when it should have been swept this long ago
SHOWN = 20


class Report(NamedTuple):
    """What was looked at, and every disagreement found, one line each (the first `SHOWN` of a kind)."""

    accounts: int
    entries: int
    open_holds: int
    problems: tuple[str, ...]


def verify(now: int) -> Report:
    """Check all accounts in one read of the database. Changes nothing."""
    with _snapshot():
        problems = [*_balances(), *_chains(), *_helds(), *_stale(now), *_charges()]
        counts = [execute(f"SELECT count(*) FROM {table}", []).fetchone()[0] for table in ("account", "ledger_entry")]
        open_holds = execute("SELECT count(*) FROM hold WHERE state = 'held'", []).fetchone()[0]
    return Report(counts[0], counts[1], open_holds, tuple(problems))


@contextmanager
def _snapshot() -> Iterator[None]:
    """One consistent view for all statements, without holding up a single writer."""
    with database.atomic():
        if not is_sqlite():
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _balances() -> list[str]:
    rows = execute(
        "SELECT a.id, a.balance, coalesce(l.total, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, sum(amount) AS total FROM ledger_entry GROUP BY account_id) l ON l.account_id = a.id"
        " WHERE a.balance <> coalesce(l.total, 0) LIMIT ?",
        [SHOWN],
    )
    return [f"account {as_uuid(id)}: balance {balance}, but its ledger sums to {total}" for id, balance, total in rows]


def _chains() -> list[str]:
    rows = execute(
        "SELECT account_id, seq, balance_after, running, number FROM (SELECT account_id, seq, balance_after,"
        " sum(amount) OVER w AS running, row_number() OVER w AS number FROM ledger_entry"
        " WINDOW w AS (PARTITION BY account_id ORDER BY seq)) t WHERE balance_after <> running OR seq <> number LIMIT ?",
        [SHOWN],
    ).fetchall()
    gaps = execute(
        "SELECT a.id, a.ledger_seq, coalesce(l.newest, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, max(seq) AS newest FROM ledger_entry GROUP BY account_id) l ON l.account_id = a.id"
        " WHERE a.ledger_seq <> coalesce(l.newest, 0) LIMIT ?",
        [SHOWN],
    )
    return [
        *(f"account {as_uuid(id)}: entry {seq} says {after} after it, the chain says {run} at number {number}"
          for id, seq, after, run, number in rows),
        *(f"account {as_uuid(id)}: should have {seq} entries, the newest is {newest}" for id, seq, newest in gaps),
    ]  # fmt: skip


def _helds() -> list[str]:
    rows = execute(
        "SELECT a.id, a.held, coalesce(h.total, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, sum(amount) AS total FROM hold WHERE state = 'held' GROUP BY account_id) h ON h.account_id = a.id"
        " WHERE a.held <> coalesce(h.total, 0) LIMIT ?",
        [SHOWN],
    )
    return [f"account {as_uuid(id)}: {held} credits held, but its open holds sum to {total}" for id, held, total in rows]


def _stale(now: int) -> list[str]:
    rows = execute(
        f"SELECT h.id, h.amount FROM {ABANDONED} LIMIT ?",
        [now - STALE_GRACE_MS, now - SILENT_MS - STALE_GRACE_MS, SHOWN],
    )
    return [
        f"hold {as_uuid(id)}: {amount} credits are held by a call that is gone; run `yout ledger sweep`" for id, amount in rows
    ]


def _charges() -> list[str]:
    """Every charge has the usage row that explains it, to the credit (rows of a purged account are both gone)."""
    rows = execute(
        "SELECT l.call, -l.amount, u.credits FROM ledger_entry l LEFT JOIN usage_ledger u"
        " ON u.id = l.call AND u.account_id = l.account_id"
        " WHERE l.kind = 'charge' AND l.call IS NOT NULL AND (u.credits IS NULL OR u.credits <> -l.amount) LIMIT ?",
        [SHOWN],
    )
    return [f"call {as_uuid(call)}: charged {charged}, its usage row says {credits}" for call, charged, credits in rows]
