"""Adds keys created by keys, which share their creator's limits, and an explicit permission to manage the account.

Before, a key with limits could create keys that each had a monthly limit of their own. Such a key loses the permission; a key
without limits keeps it.
"""

from peewee import SqliteDatabase

KEY_COLUMNS = {"can_manage": "BOOLEAN NOT NULL DEFAULT false", "parent": "UUID", "meter": "UUID"}
INDEXED = ("parent", "meter")


def up(migrator, db):
    for name, kind in KEY_COLUMNS.items():
        if isinstance(db, SqliteDatabase):
            kind = kind.replace("UUID", "TEXT").replace("BOOLEAN", "INTEGER")
        db.execute_sql(f"ALTER TABLE api_key ADD COLUMN {name} {kind}")
    db.execute_sql("ALTER TABLE hold ADD COLUMN parent_allowance VARCHAR(96)")
    for column in INDEXED:
        db.execute_sql(f'CREATE INDEX "api_key_by_{column}" ON "api_key" ("{column}") WHERE {column} IS NOT NULL')
    db.execute_sql(
        "UPDATE api_key SET can_manage = true WHERE rpm IS NULL AND tpm IS NULL AND concurrency IS NULL"
        " AND monthly_credit_limit IS NULL AND allowed_models IS NULL AND allowed_ips IS NULL"
    )


def down(migrator, db):
    for column in INDEXED:
        db.execute_sql(f"DROP INDEX api_key_by_{column}")
    db.execute_sql("ALTER TABLE hold DROP COLUMN parent_allowance")
    for column in KEY_COLUMNS:
        db.execute_sql(f"ALTER TABLE api_key DROP COLUMN {column}")
