"""Adds request shapes: the names of the fields and headers that the provider of a call got (`shared/ledger/request_shapes.py`).

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from functools import partial

from peewee import BigIntegerField, BlobField, IntegerField, Model, SqliteDatabase, TextField

COLUMNS = {"usage_ledger": ("request_shape",), "media_job": ("request_sha256", "request_shape")}


class RequestShape(Model):
    id = BlobField(primary_key=True)
    fields = TextField()
    headers = TextField()
    other_fields = IntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


def _add_columns(table, db):
    kind = "BLOB" if isinstance(db, SqliteDatabase) else "BYTEA"
    present = {column.name for column in db.get_columns(table)}
    for column in COLUMNS[table]:
        if column not in present:
            db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = tuple(partial(_add_columns, table) for table in COLUMNS)


def up(migrator, db):
    with db.bind_ctx((RequestShape,)):
        db.create_tables((RequestShape,))
    for table in COLUMNS:
        _add_columns(table, db)


def down(migrator, db):
    for table, columns in COLUMNS.items():
        for column in columns:
            db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    with db.bind_ctx((RequestShape,)):
        db.drop_tables((RequestShape,))
