"""Adds database triggers that prevent changing or deleting audit entries.

They also protect against manual SQL and against code that violates the rule, such as a new console route. The owner of the schema
can still drop the triggers; other roles cannot.
"""

from peewee import SqliteDatabase

REFUSAL = "the audit log is append-only"
DEEDS = ("UPDATE", "DELETE")


def up(migrator, db):
    if isinstance(db, SqliteDatabase):
        for deed in DEEDS:
            db.execute_sql(
                f"CREATE TRIGGER audit_entry_no_{deed.lower()} BEFORE {deed} ON audit_entry"
                f" BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
            )
        return
    db.execute_sql(
        "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    db.execute_sql(
        "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )


def down(migrator, db):
    if isinstance(db, SqliteDatabase):
        for deed in DEEDS:
            db.execute_sql(f"DROP TRIGGER audit_entry_no_{deed.lower()}")
        return
    db.execute_sql("DROP TRIGGER audit_entry_append_only ON audit_entry")
    db.execute_sql("DROP FUNCTION refuse_audit_change()")
