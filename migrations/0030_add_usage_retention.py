"""Adds how many days a plan keeps its subscribers' calls. NULL means as in the settings."""


def up(migrator, db):
    db.execute_sql("ALTER TABLE plan ADD COLUMN usage_days INTEGER CONSTRAINT plan_usage_days CHECK (usage_days >= 30)")


def down(migrator, db):
    db.execute_sql("ALTER TABLE plan DROP COLUMN usage_days")
