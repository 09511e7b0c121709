"""Readiness probe: runs the writes of `reserve` and `settle` without changing a row."""

from __future__ import annotations

from shared.core.database import database, transaction

# PostgreSQL checks privileges and read-only mode when a statement starts, so no row needs to match.
_STATEMENTS = (
    "UPDATE account SET balance = balance, held = held, ledger_seq = ledger_seq, plan_credits = plan_credits WHERE 1 = 0",
    "INSERT INTO hold (id, account_id) SELECT id, account_id FROM hold WHERE 1 = 0",
    "DELETE FROM hold WHERE 1 = 0",
    "INSERT INTO ledger_entry (account_id) SELECT account_id FROM ledger_entry WHERE 1 = 0",
    "INSERT INTO usage_ledger (id, account_id) SELECT id, account_id FROM usage_ledger WHERE 1 = 0",
)


def probe_writes() -> None:
    """Raise the database's error if calls cannot be reserved or charged now. Changes nothing."""
    with transaction():
        for statement in _STATEMENTS:
            database.execute_sql(statement)
