"""Adds the hash chain of ledger entries, and triggers that prevent changing or deleting entries.

Existing entries stay without a hash. An account's chain begins with its next entry, whose hash covers the balance and the number
that the older entries lead to. Entries without a hash that the previous release adds meanwhile are covered in the same way.

The triggers allow what the previous release also does: a purge deletes an account's entries while its row in `purge_job` is
unfinished, and the usage retention sets `call` to NULL. The salt goes with the call, so that nobody can test a guess of the
deleted details.
"""

from functools import partial

from peewee import SqliteDatabase

BINARY = {"entry_hash": 32, "commitment": 32, "salt": 16}
KEPT = (
    *("account_id", "seq", "kind", "amount", "balance_after", "actor", "reason", "created_at", "plan_amount"),
    *("month", "entry_hash", "commitment"),
)
ERASABLE = ("call", "salt")
REFUSAL = "ledger entries cannot be changed or deleted"
PURGED = "EXISTS (SELECT 1 FROM purge_job WHERE account_id = OLD.account_id AND status <> 'done')"


COLUMNS = {"account": ("ledger_head", "ledger_origin"), "ledger_entry": tuple(BINARY), "usage_ledger": ("request_sha256",)}


def _add_columns(table, db):
    kind = "BLOB" if isinstance(db, SqliteDatabase) else "BYTEA"
    present = {column.name for column in db.get_columns(table)}
    for column in COLUMNS[table]:
        if column not in present:
            db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = tuple(partial(_add_columns, table) for table in COLUMNS)


def up(migrator, db):
    for table in COLUMNS:
        _add_columns(table, db)
    (_add_sqlite_triggers if isinstance(db, SqliteDatabase) else _add_postgres_triggers)(db)


def _add_sqlite_triggers(db):
    kept = " AND ".join(f"NEW.{column} IS OLD.{column}" for column in KEPT)
    erased = " AND ".join(f"(NEW.{column} IS NULL OR NEW.{column} IS OLD.{column})" for column in ERASABLE)
    db.execute_sql(
        f"CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry WHEN NOT ({kept} AND {erased})"
        f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    )
    db.execute_sql(
        f"CREATE TRIGGER ledger_entry_no_delete BEFORE DELETE ON ledger_entry WHEN NOT {PURGED}"
        f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    )
    db.execute_sql(
        "CREATE TRIGGER ledger_entry_erase_salt AFTER UPDATE OF call ON ledger_entry"
        " WHEN OLD.call IS NOT NULL AND NEW.call IS NULL AND NEW.salt IS NOT NULL"
        " BEGIN UPDATE ledger_entry SET salt = NULL WHERE account_id = NEW.account_id AND seq = NEW.seq; END"
    )


def _add_postgres_triggers(db):
    kept = [f"{row}.{column}" for row in ("NEW", "OLD") for column in KEPT]
    kept = f"({', '.join(kept[: len(KEPT)])}) IS NOT DISTINCT FROM ({', '.join(kept[len(KEPT) :])})"
    erased = " AND ".join(f"(NEW.{column} IS NULL OR NEW.{column} IS NOT DISTINCT FROM OLD.{column})" for column in ERASABLE)
    refuse = f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';"
    db.execute_sql(
        "CREATE FUNCTION protect_ledger_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'TRUNCATE' THEN {refuse} END IF;"
        f" IF TG_OP = 'DELETE' THEN IF NOT {PURGED} THEN {refuse} END IF; RETURN OLD; END IF;"
        f" IF NOT ({kept} AND {erased}) THEN {refuse} END IF;"
        " IF OLD.call IS NOT NULL AND NEW.call IS NULL THEN NEW.salt := NULL; END IF;"
        " RETURN NEW; END $$"
    )
    db.execute_sql(
        "CREATE TRIGGER ledger_entry_protected BEFORE UPDATE OR DELETE ON ledger_entry"
        " FOR EACH ROW EXECUTE FUNCTION protect_ledger_entry()"
    )
    db.execute_sql(
        "CREATE TRIGGER ledger_entry_not_truncated BEFORE TRUNCATE ON ledger_entry"
        " FOR EACH STATEMENT EXECUTE FUNCTION protect_ledger_entry()"
    )


def down(migrator, db):
    if isinstance(db, SqliteDatabase):
        for trigger in ("no_update", "no_delete", "erase_salt"):
            db.execute_sql(f"DROP TRIGGER ledger_entry_{trigger}")
    else:
        for trigger in ("protected", "not_truncated"):
            db.execute_sql(f"DROP TRIGGER ledger_entry_{trigger} ON ledger_entry")
        db.execute_sql("DROP FUNCTION protect_ledger_entry()")
    for table, columns in COLUMNS.items():
        for column in columns:
            db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
