"""Stores each dispute of a payment, which can have several, and the order that saved the account's card."""

from peewee import SqliteDatabase


def up(migrator, db):
    json = "TEXT" if isinstance(db, SqliteDatabase) else "JSONB"
    db.execute_sql(f"ALTER TABLE payment ADD COLUMN disputes {json}")
    db.execute_sql("ALTER TABLE payment_profile ADD COLUMN card_payment VARCHAR(200)")


def down(migrator, db):
    db.execute_sql("ALTER TABLE payment_profile DROP COLUMN card_payment")
    db.execute_sql("ALTER TABLE payment DROP COLUMN disputes")
