"""Adds the id that a client chose for a conversation. It is unique per account, while `id` is unique in the table.

The index by account and public id replaces the one by account and `id`.
"""

from peewee import UUIDField


def up(migrator, db):
    if "chosen_id" not in {column.name for column in db.get_columns("conversation")}:
        migrator.migrate(migrator.add_column("conversation", "chosen_id", UUIDField(null=True)))
    db.execute_sql(
        """CREATE UNIQUE INDEX "conversation_by_public_id" ON "conversation" ("account_id", COALESCE("chosen_id", "id"))"""
    )
    db.execute_sql("DROP INDEX conversation_by_account")


def down(migrator, db):
    db.execute_sql("""CREATE INDEX "conversation_by_account" ON "conversation" ("account_id", "id")""")
    db.execute_sql("DROP INDEX conversation_by_public_id")
    db.execute_sql("ALTER TABLE conversation DROP COLUMN chosen_id")
