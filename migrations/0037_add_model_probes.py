"""Adds what probes store: the rules of channels, their comparisons with reference channels, and daily sums.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, CompositeKey, JSONField, Model, SqliteDatabase, UUIDField


class ChannelComparison(Model):
    channel = UUIDField()
    model = CharField(max_length=200)
    reference = UUIDField()
    due_at = BigIntegerField()
    started_at = BigIntegerField()
    evidence = JSONField()
    verdict = CharField(max_length=16, null=True)
    compared_at = BigIntegerField(null=True)
    verdict_evidence = JSONField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("channel", "model")
        constraints = [SQL("CONSTRAINT channel_comparison_verdict CHECK (verdict IN ('same', 'different'))")]


class ProbeSum(Model):
    day = BigIntegerField()
    channel = UUIDField()
    model = CharField(max_length=200)
    kind = CharField(max_length=16)
    probes = BigIntegerField()
    failed = BigIntegerField()
    differing = BigIntegerField()
    reference_differing = BigIntegerField()
    passed = BigIntegerField()
    reference_passed = BigIntegerField()
    provider_cost = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("day", "channel", "model", "kind")
        constraints = [
            SQL(
                "CONSTRAINT probe_sum_counts CHECK (probes >= 0 AND failed >= 0 AND differing >= 0 AND reference_differing >= 0"
                " AND passed >= 0 AND reference_passed >= 0 AND provider_cost >= 0)"
            )
        ]


TABLES = (ChannelComparison, ProbeSum)
COLUMNS = (
    ("is_reference", "{boolean} NOT NULL DEFAULT false"),
    (
        "daily_probes",
        "{small} NOT NULL DEFAULT 0 CONSTRAINT channel_daily_probes CHECK (daily_probes >= 0 AND daily_probes <= 10000)",
    ),
    (
        "daily_probe_credits",
        "{integer} NOT NULL DEFAULT 0 CONSTRAINT channel_daily_probe_credits CHECK (daily_probe_credits >= 0)",
    ),
    ("lowers_weight_when_different", "{boolean} NOT NULL DEFAULT false"),
)


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
    if isinstance(db, SqliteDatabase):
        types = {"integer": "INTEGER", "small": "INTEGER", "boolean": "INTEGER"}
    else:
        types = {"integer": "BIGINT", "small": "SMALLINT", "boolean": "BOOLEAN"}
    for column, definition in COLUMNS:
        db.execute_sql(f"ALTER TABLE channel ADD COLUMN {column} {definition.format(**types)}")


def down(migrator, db):
    for column, _ in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE channel DROP COLUMN {column}")
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
