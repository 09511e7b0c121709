"""Adds what calls cost the operator, further cost prices of routes, rules and checks of channels, and the daily price check.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

import time

from peewee import (
    SQL,
    BigIntegerField,
    CharField,
    CompositeKey,
    ForeignKeyField,
    JSONField,
    Model,
    SmallIntegerField,
    SqliteDatabase,
    UUIDField,
)


class Channel(Model):
    """As far as the table below refers to it."""

    id = UUIDField(primary_key=True)


class ChannelCheck(Model):
    channel = ForeignKeyField(Channel, on_delete="CASCADE", primary_key=True)
    since = BigIntegerField()
    checked_at = BigIntegerField(null=True)
    calls = BigIntegerField()
    costed_credits = BigIntegerField()
    provider_cost = BigIntegerField()
    sampled_calls = BigIntegerField()
    counted_input = BigIntegerField()
    reported_input = BigIntegerField()
    counted_output = BigIntegerField()
    reported_output = BigIntegerField()
    problems = JSONField()
    flagged_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL(
                "CONSTRAINT channel_check_counts CHECK (calls >= 0 AND costed_credits >= 0 AND provider_cost >= 0"
                " AND sampled_calls >= 0 AND counted_input >= 0 AND reported_input >= 0"
                " AND counted_output >= 0 AND reported_output >= 0)"
            )
        ]


class TokenSample(Model):
    at = BigIntegerField()
    channel = UUIDField()
    model = CharField(max_length=200)
    calls = BigIntegerField()
    counted_input = BigIntegerField()
    reported_input = BigIntegerField()
    counted_output = BigIntegerField()
    reported_output = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("at", "channel", "model")
        constraints = [
            SQL(
                "CONSTRAINT token_sample_counts CHECK (calls >= 0 AND counted_input >= 0 AND reported_input >= 0"
                " AND counted_output >= 0 AND reported_output >= 0)"
            )
        ]


class PriceCheck(Model):
    id = SmallIntegerField(primary_key=True)
    due_at = BigIntegerField()
    checked_at = BigIntegerField(null=True)
    below = JSONField()
    unknown = JSONField()

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT price_check_one CHECK (id = 1)")]


DAY_MS = 24 * 3600 * 1000
TABLES = (ChannelCheck, TokenSample, PriceCheck)
COLUMNS = (
    ("usage_ledger", "provider_cost", "{integer} CONSTRAINT usage_ledger_provider_cost CHECK (provider_cost >= 0)"),
    ("platform_usage", "provider_cost", "{integer}"),
    ("platform_usage", "costed_credits", "{integer}"),
    ("account_usage", "provider_cost", "{integer}"),
    ("account_usage", "costed_credits", "{integer}"),
    ("channel_model", "further_costs", "{json} NOT NULL DEFAULT '[]'"),
    ("channel_model", "costs_listed", "{boolean} NOT NULL DEFAULT false"),
    (
        "channel",
        "margin_floor",
        "{small} NOT NULL DEFAULT 0 CONSTRAINT channel_margin_floor CHECK (margin_floor >= -1000 AND margin_floor <= 100)",
    ),
    (
        "channel",
        "count_tolerance",
        "{small} NOT NULL DEFAULT 2 CONSTRAINT channel_count_tolerance CHECK (count_tolerance >= 1 AND count_tolerance <= 100)",
    ),
    ("channel", "pauses_when_flagged", "{boolean} NOT NULL DEFAULT false"),
)


def up(migrator, db):
    with db.bind_ctx((Channel, *TABLES)):
        db.create_tables(TABLES)
        midnight = (int(time.time() * 1000) // DAY_MS + 1) * DAY_MS
        PriceCheck.insert(id=1, due_at=midnight, below=[], unknown=[]).execute()
    if isinstance(db, SqliteDatabase):
        types = {"integer": "INTEGER", "small": "INTEGER", "json": "TEXT", "boolean": "INTEGER"}
    else:
        types = {"integer": "BIGINT", "small": "SMALLINT", "json": "JSONB", "boolean": "BOOLEAN"}
    for table, column, definition in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} {definition.format(**types)}")


def down(migrator, db):
    for table, column, _ in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    with db.bind_ctx((Channel, *TABLES)):
        db.drop_tables(TABLES)
