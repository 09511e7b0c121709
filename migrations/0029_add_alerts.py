"""Adds alerts, the messages about them, and when they were evaluated last.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, ForeignKeyField, IntegerField, JSONField, Model, SmallIntegerField, UUIDField


class AlertCheck(Model):
    id = SmallIntegerField(primary_key=True)
    checked_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT alert_check_one CHECK (id = 1)")]


class Alert(Model):
    id = UUIDField(primary_key=True)
    kind = CharField(max_length=32)
    subject = CharField(max_length=200)
    details = JSONField()
    first_seen_at = BigIntegerField()
    last_seen_at = BigIntegerField()
    opened_at = BigIntegerField(null=True)
    clear_since = BigIntegerField(null=True)
    closed_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT alert_closed_after_opened CHECK (closed_at IS NULL OR opened_at IS NOT NULL)")]


class AlertNotice(Model):
    id = UUIDField(primary_key=True)
    alert = ForeignKeyField(Alert, on_delete="CASCADE", index=False)
    event = CharField(max_length=16)
    target = CharField(max_length=16)
    status = CharField(max_length=16)
    attempts = IntegerField()
    due_at = BigIntegerField()
    last_error = CharField(max_length=200)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT alert_notice_event CHECK (event IN ('opened', 'closed'))"),
            SQL("CONSTRAINT alert_notice_target CHECK (target IN ('email', 'webhook'))"),
            SQL("CONSTRAINT alert_notice_status CHECK (status IN ('queued', 'sent', 'failed'))"),
            SQL("CONSTRAINT alert_notice_attempts CHECK (attempts >= 0)"),
        ]


Alert.add_index(Alert.index(Alert.kind, Alert.subject, unique=True, where=SQL("closed_at IS NULL"), name="alert_one_at_a_time"))
Alert.add_index(Alert.index(Alert.closed_at, where=SQL("closed_at IS NOT NULL"), name="alert_closed"))
AlertNotice.add_index(
    AlertNotice.index(AlertNotice.alert, AlertNotice.event, AlertNotice.target, unique=True, name="alert_notice_once")
)
AlertNotice.add_index(AlertNotice.index(AlertNotice.due_at, where=SQL("status = 'queued'"), name="alert_notice_due"))
TABLES = (AlertCheck, Alert, AlertNotice)


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
        AlertCheck.insert(id=1, checked_at=0).execute()


def down(migrator, db):
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES[::-1])
