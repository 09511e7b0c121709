"""Verifies the ledger: balances are the sums of their entries, which are as they were written and sealed; no hold is stale."""

from __future__ import annotations

from itertools import chain, islice
from typing import NamedTuple

from shared.core.database import snapshot
from shared.ledger.dump import read_ledger, read_seals
from shared.ledger.dump_check import DumpCheck
from shared.ledger.purge_signature import OPENING_ACTOR, SignedPurges
from shared.ledger.seal import public_keys, purges_signed_since
from shared.ledger.sql import as_uuid, execute
from shared.ledger.sweep import ABANDONED_HOLDS_SQL, HEARTBEAT_TIMEOUT_MS

STALE_GRACE_MS = 60_000  # time for the sweeper: a hold is stale if the sweeper could have closed it this long ago
MAX_PROBLEMS = 20  # maximum number of problems of a kind to report


class VerificationReport(NamedTuple):
    """Numbers of rows checked, and one line for each problem found.

    `unwitnessed` entries have no hash, because an older release wrote them.
    """

    accounts: int
    entries: int
    open_holds: int
    problems: tuple[str, ...]
    unwitnessed: int = 0


def verify_ledger(now: int, secret_key: str = "") -> VerificationReport:
    """Check all accounts in one snapshot of the database. Changes nothing.

    Without `secret_key`, the signatures of purges are not checked.
    """
    with snapshot():
        purges = SignedPurges(public_keys(secret_key), purges_signed_since()) if secret_key else None
        problems = [*_balances(), *_balance_chains(), *_held_sums(), *_stale(now), *_charges(), *_plan_credits(), *_meters()]
        problems += islice(DumpCheck().run_hashes(chain(read_ledger(), read_seals()), purges), MAX_PROBLEMS)
        counts = [execute(f"SELECT count(*) FROM {table}", []).fetchone()[0] for table in ("account", "ledger_entry")]
        open_holds = execute("SELECT count(*) FROM hold WHERE state = 'held'", []).fetchone()[0]
        unwitnessed = execute("SELECT count(*) FROM ledger_entry WHERE entry_hash IS NULL", []).fetchone()[0]
    return VerificationReport(counts[0], counts[1], open_holds, tuple(problems), unwitnessed)


def _balances() -> list[str]:
    rows = execute(
        "SELECT a.id, a.balance, coalesce(l.total, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, sum(amount) AS total FROM ledger_entry GROUP BY account_id) l ON l.account_id = a.id"
        " WHERE a.balance <> coalesce(l.total, 0) LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [f"account {as_uuid(id)}: balance {balance}, but its ledger sums to {total}" for id, balance, total in rows]


def _balance_chains() -> list[str]:
    """Check that each balance follows from the previous entry and that no entry number is missing.

    During a purge, an account's first entry may be an opening entry with a higher number.
    """
    rows = execute(
        "SELECT account_id, seq, balance_after, running, number FROM (SELECT account_id, seq, balance_after,"
        " sum(amount) OVER w AS running, row_number() OVER w AS number, first_value(seq) OVER w AS first,"
        " first_value(actor) OVER w AS opener FROM ledger_entry WINDOW w AS (PARTITION BY account_id ORDER BY seq)) t"
        " WHERE balance_after <> running OR seq <> number + CASE WHEN opener = ? THEN first - 1 ELSE 0 END LIMIT ?",
        [OPENING_ACTOR, MAX_PROBLEMS],
    ).fetchall()
    gaps = execute(
        "SELECT a.id, a.ledger_seq, coalesce(l.newest, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, max(seq) AS newest FROM ledger_entry GROUP BY account_id) l ON l.account_id = a.id"
        " WHERE a.ledger_seq <> coalesce(l.newest, 0) LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [
        *(f"account {as_uuid(id)}: entry {seq} says {after} after it, the chain says {run} at number {number}"
          for id, seq, after, run, number in rows),
        *(f"account {as_uuid(id)}: should have {seq} entries, the newest is {newest}" for id, seq, newest in gaps),
    ]  # fmt: skip


def _held_sums() -> list[str]:
    rows = execute(
        "SELECT a.id, a.held, coalesce(h.total, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, sum(amount) AS total FROM hold WHERE state = 'held' GROUP BY account_id) h ON h.account_id = a.id"
        " WHERE a.held <> coalesce(h.total, 0) LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [f"account {as_uuid(id)}: {held} credits held, but its open holds sum to {total}" for id, held, total in rows]


def _stale(now: int) -> list[str]:
    rows = execute(
        f"SELECT h.id, h.amount FROM {ABANDONED_HOLDS_SQL} LIMIT ?",
        [now - STALE_GRACE_MS, now - HEARTBEAT_TIMEOUT_MS - STALE_GRACE_MS, MAX_PROBLEMS],
    )
    return [
        f"hold {as_uuid(id)}: {amount} credits are held by a call that has ended; run `yout ledger sweep`" for id, amount in rows
    ]


def _charges() -> list[str]:
    """Check that every charge has a usage row with the same credits. A purge deletes both."""
    rows = execute(
        "SELECT t.call, t.charged, u.credits FROM (SELECT call, account_id, sum(credits) AS charged, sum(beyond) AS beyond FROM"
        " (SELECT call, account_id, -amount AS credits, 0 AS beyond FROM ledger_entry WHERE kind = 'charge'"
        " UNION ALL SELECT call, account_id, amount, amount FROM overage_entry WHERE kind = 'charge') c"
        " WHERE call IS NOT NULL GROUP BY call, account_id) t LEFT JOIN usage_ledger u"
        " ON u.id = t.call AND u.account_id = t.account_id"
        " WHERE u.credits IS NULL OR u.credits <> t.charged OR u.overage_credits <> t.beyond LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [f"call {as_uuid(call)}: charged {charged}, its usage row says {credits}" for call, charged, credits in rows]


def _plan_credits() -> list[str]:
    """Check that plan credits are the sum of their ledger movements, and that charges use plan credits before others."""
    sums = execute(
        "SELECT a.id, a.plan_credits, coalesce(l.total, 0) FROM account a LEFT JOIN"
        " (SELECT account_id, sum(plan_amount) AS total FROM ledger_entry GROUP BY account_id) l ON l.account_id = a.id"
        " WHERE a.plan_credits <> coalesce(l.total, 0) LIMIT ?",
        [MAX_PROBLEMS],
    ).fetchall()
    order = execute(
        "SELECT account_id, seq, before FROM (SELECT account_id, seq, kind, amount, plan_amount,"
        " sum(plan_amount) OVER (PARTITION BY account_id ORDER BY seq) - plan_amount AS before FROM ledger_entry) t"
        " WHERE kind = 'charge' AND -plan_amount <> CASE WHEN before < -amount THEN before ELSE -amount END LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [
        *(f"account {as_uuid(id)}: {plan} plan credits, but their movements sum to {total}" for id, plan, total in sums),
        *(f"account {as_uuid(id)}: charge {seq} should have used the {before} plan credits first" for id, seq, before in order),
    ]


def _meters() -> list[str]:
    """Check that the held amounts of allowances and overage match the open holds, and that the used overage matches its
    entries."""
    allowances = execute(
        "SELECT w.name, w.held, coalesce(h.total, 0) FROM allowance w LEFT JOIN"
        " (SELECT account_id, name, sum(credits) AS total FROM"
        " (SELECT account_id, allowance AS name, amount + overage AS credits FROM hold WHERE state = 'held'"
        " UNION ALL SELECT account_id, parent_allowance, amount + overage FROM hold WHERE state = 'held'"
        " UNION ALL SELECT h.account_id, m.name, h.amount + h.overage FROM hold h JOIN allowance m ON m.account_id = h.account_id"
        " AND replace(' ' || h.more_allowances || ' ', ' ' || m.name || ' ', '') <> ' ' || h.more_allowances || ' '"
        " WHERE h.state = 'held' AND h.more_allowances IS NOT NULL) taken"
        " WHERE name IS NOT NULL GROUP BY account_id, name) h ON h.account_id = w.account_id AND h.name = w.name"
        " WHERE w.held <> coalesce(h.total, 0) LIMIT ?",
        [MAX_PROBLEMS],
    ).fetchall()
    overages = execute(
        "SELECT s.id, s.overage_held, coalesce(h.total, 0), s.overage_used, coalesce(e.total, 0) FROM subscription s"
        " LEFT JOIN (SELECT subscription, sum(overage) AS total FROM hold WHERE state = 'held' AND subscription IS NOT NULL"
        " GROUP BY subscription) h ON h.subscription = s.id"
        " LEFT JOIN (SELECT subscription, sum(amount) AS total FROM overage_entry GROUP BY subscription) e"
        " ON e.subscription = s.id"
        " WHERE s.overage_held <> coalesce(h.total, 0) OR s.overage_used <> coalesce(e.total, 0) LIMIT ?",
        [MAX_PROBLEMS],
    )
    return [
        *(f"allowance {name}: {held} credits held, but its open holds sum to {total}" for name, held, total in allowances),
        *(f"subscription {as_uuid(id)}: overage of {used} used and {held} held, but its entries sum to {spent} and its open holds"
          f" to {open}" for id, held, open, used, spent in overages),
    ]  # fmt: skip
