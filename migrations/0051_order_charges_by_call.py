"""Orders SQLite's unique index of charges by call instead of by account.

Ids of calls sort by time, so the entries of a batch go to the last pages of the index. Ordered by account, each account's
entry went to another page. PostgreSQL keeps its order: building the index again would lock large partitions for long.
"""

from peewee import SqliteDatabase

COLUMNS = '"call", "account_id", "kind"'
OLD_COLUMNS = '"account_id", "call", "kind"'


def up(migrator, db):
    _order(db, COLUMNS)


def down(migrator, db):
    _order(db, OLD_COLUMNS)


def _order(db, columns):
    if isinstance(db, SqliteDatabase):
        db.execute_sql('DROP INDEX "ledger_entry_once_a_call"')
        db.execute_sql(f'CREATE UNIQUE INDEX "ledger_entry_once_a_call" ON "ledger_entry" ({columns}) WHERE call IS NOT NULL')
