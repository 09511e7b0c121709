"""Adds the storage key of a media job's input images."""


def up(migrator, db):
    db.execute_sql("ALTER TABLE media_job ADD COLUMN input_key VARCHAR(80)")
    db.execute_sql('CREATE INDEX "media_job_inputs" ON "media_job" ("input_key") WHERE input_key IS NOT NULL')


def down(migrator, db):
    """Input images that are still stored become orphans, which the worker deletes after a day."""
    db.execute_sql("DROP INDEX media_job_inputs")
    db.execute_sql("ALTER TABLE media_job DROP COLUMN input_key")
