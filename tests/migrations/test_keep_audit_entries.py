"""The database rejects changing or deleting audit entries until the migration is undone."""

from __future__ import annotations

import peewee
import pytest
from playhouse.migrations import Runner

from shared.core.database import is_sqlite
from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import AuditEntry
from shared.operations.audit import Origin, record_audit_entry

NAME = "0012_keep_audit_entries"


def tampering_statements(target: peewee.Database) -> list[str]:
    """Every statement that would lose an entry. SQLite has no TRUNCATE."""
    ways = ["UPDATE audit_entry SET actor = 'somebody else'", "DELETE FROM audit_entry"]
    return ways if is_sqlite(target) else [*ways, "TRUNCATE audit_entry"]


def test_entries_can_only_be_inserted(bound_database: peewee.Database) -> None:
    record_audit_entry(Origin("boss@example.com", "192.0.2.1"), "account.suspend", "a", before={"status": "active"})
    kept = AuditEntry.select().dicts().get()
    for statement in tampering_statements(bound_database):
        with pytest.raises(peewee.IntegrityError, match="append-only"), bound_database.atomic():
            bound_database.execute_sql(statement)
    assert list(AuditEntry.select().dicts()) == [kept]
    record_audit_entry(Origin("boss@example.com"), "account.activate", "a")
    assert AuditEntry.select().count() == 2


def test_it_can_be_undone_completely_and_applied_again(bound_database: peewee.Database) -> None:
    record_audit_entry(Origin("boss@example.com"), "account.suspend", "a")
    Runner(bound_database, str(MIGRATIONS)).down(NAME)
    assert AuditEntry.update(actor="x").execute() == 1
    assert NAME in migrate(bound_database)
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        AuditEntry.delete().execute()
