"""Adds the signature of the purge that replaced an account's oldest ledger entries."""


def up(migrator, db):
    if "ledger_origin_signature" not in {column.name for column in db.get_columns("account")}:
        db.execute_sql("ALTER TABLE account ADD COLUMN ledger_origin_signature TEXT")


def down(migrator, db):
    db.execute_sql("ALTER TABLE account DROP COLUMN ledger_origin_signature")
