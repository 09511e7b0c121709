"""Probe: try what `reserve` and `settle` write, without writing a row."""

from __future__ import annotations

from shared.database import database, transaction

# Rights and a read-only server are checked when a statement starts, so none of them needs a row to find them.
_STATEMENTS = (
    "UPDATE account SET balance = balance, held = held, ledger_seq = ledger_seq, plan_credits = plan_credits WHERE 1 = 0",
    "INSERT INTO hold (id) SELECT id FROM hold WHERE 1 = 0",
    "UPDATE hold SET state = state, closed_at = closed_at WHERE 1 = 0",
    "INSERT INTO ledger_entry (account_id) SELECT account_id FROM ledger_entry WHERE 1 = 0",
    "INSERT INTO usage_ledger (id) SELECT id FROM usage_ledger WHERE 1 = 0",
)


def probe_writes() -> None:
    """Raise what the database raises when calls could not be reserved or charged now. Leaves nothing behind."""
    with transaction():
        for statement in _STATEMENTS:
            database.execute_sql(statement)
