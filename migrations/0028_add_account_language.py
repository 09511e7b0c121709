"""Adds the language of an account's emails: the one that its owner last used on a page."""


def up(migrator, db):
    db.execute_sql("ALTER TABLE account ADD COLUMN language VARCHAR(8) NOT NULL DEFAULT 'en'")


def down(migrator, db):
    db.execute_sql("ALTER TABLE account DROP COLUMN language")
