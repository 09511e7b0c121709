"""Adds rates by kind of token, prompt length, service tier, search and second to prices, and the counts that they apply to.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, CompositeKey, ForeignKeyField, Model, SqliteDatabase, UUIDField

KINDS = (
    *("input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "cached_audio_input", "image_input"),
    *("output", "reasoning", "audio_output", "image_output", "web_search", "second"),
)


class Price(Model):
    """As far as the table below refers to it."""

    id = UUIDField(primary_key=True)


class PriceRate(Model):
    price = ForeignKeyField(Price, on_delete="CASCADE", index=False)
    kind = CharField(max_length=40)
    above_tokens = BigIntegerField()
    credits = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("price", "kind", "above_tokens")
        constraints = [
            SQL(
                f"CONSTRAINT price_rate_kind CHECK (kind IN ({', '.join(map(repr, KINDS))})"
                " OR (substr(kind, 1, 5) = 'tier:' AND length(kind) > 5))"
            ),
            SQL("CONSTRAINT price_rate_above CHECK (above_tokens >= 0 AND above_tokens <= 1000000000)"),
            SQL("CONSTRAINT price_rate_credits CHECK (credits >= 0 AND credits <= 1000000000000)"),
        ]


# Anthropic charges 2 times the input price for a cache of one hour, and 1.25 times for one of five minutes ("Prompt caching").
# Until now both had the same rate here, so models on Anthropic's dialect get a rate for one hour in this proportion.
ONE_HOUR_RATES = """
INSERT INTO price_rate (price_id, kind, above_tokens, credits)
SELECT id, 'cache_write_1h', 0, (credits_per_1k_cache_write * 8 + 4) / 5 FROM price
WHERE credits_per_1k_cache_write <= 600000000000 AND model_id IN (
    SELECT channel_model.model_id FROM channel_model JOIN channel ON channel.id = channel_model.channel_id
    WHERE channel.dialect = 'anthropic'
)
"""


def up(migrator, db):
    with db.bind_ctx((Price, PriceRate)):
        db.create_tables((PriceRate,))
    db.execute_sql(ONE_HOUR_RATES)
    json = "TEXT" if isinstance(db, SqliteDatabase) else "JSONB"
    db.execute_sql(f"ALTER TABLE price_draft ADD COLUMN rates {json} NOT NULL DEFAULT '[]'")
    db.execute_sql(f"ALTER TABLE usage_ledger ADD COLUMN extra_usage {json}")


def down(migrator, db):
    db.execute_sql("ALTER TABLE usage_ledger DROP COLUMN extra_usage")
    db.execute_sql("ALTER TABLE price_draft DROP COLUMN rates")
    with db.bind_ctx((Price, PriceRate)):
        db.drop_tables((PriceRate,))
