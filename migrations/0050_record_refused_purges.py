"""Adds why a worker refused to go on with a purge."""


def up(migrator, db):
    if "problem" not in {column.name for column in db.get_columns("purge_job")}:
        db.execute_sql("ALTER TABLE purge_job ADD COLUMN problem TEXT")


def down(migrator, db):
    db.execute_sql("ALTER TABLE purge_job DROP COLUMN problem")
