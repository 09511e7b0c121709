"""Adds the position of the message before a stored one, for messages that are not on a conversation's main branch."""


def up(migrator, db):
    db.execute_sql("ALTER TABLE message ADD COLUMN parent INTEGER CHECK (parent >= -1 AND parent < position)")


def down(migrator, db):
    db.execute_sql("ALTER TABLE message DROP COLUMN parent")
