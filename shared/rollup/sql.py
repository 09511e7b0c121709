"""SQL of the usage sums, the same text on SQLite and PostgreSQL."""

from __future__ import annotations

from shared.billing.output_histogram import BOUNDS
from shared.core.latency_histogram import BOUNDS_MS, column_names

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

KEY = ("model", "channel", "status")
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
SUMMED = (*TOKENS, "credits", "overrun_credits", "duration_ms", "overage_credits", "provider_cost")
COUNTERS = ("calls", "estimated", *SUMMED, "costed_credits")
COSTED_CREDITS = "SUM(CASE WHEN provider_cost IS NOT NULL THEN credits END)"  # of calls
LATENCIES = ("first_token", "duration")
MEASURES = (*COUNTERS, *(column for measure in LATENCIES for column in column_names(measure)))


def bucket_counts(measure: str) -> list[str]:
    """Return SQL expressions that count calls by bucket of `measure`, in the order of
    `shared.core.latency_histogram.column_names`;
    NULL for 0."""
    value = f"{measure}_ms"
    ends = [f" AND {value} < {high}" for high in BOUNDS_MS[1:]] + [""]
    return [f"SUM(CASE WHEN {value} >= {low}{end} THEN 1 END)" for low, end in zip(BOUNDS_MS, ends, strict=True)]


# Expressions over calls for `MEASURES`. COUNT is never NULL; all others are NULL instead of 0.
CALL_MEASURES = (
    "COUNT(*)",
    "SUM(CASE WHEN estimated THEN 1 END)",
    *(f"NULLIF(SUM({column}), 0)" for column in SUMMED),
    f"NULLIF({COSTED_CREDITS}, 0)",
    *(expression for measure in LATENCIES for expression in bucket_counts(measure)),
)
_PURGING = "(SELECT account_id FROM purge_job WHERE status <> 'done')"

# Parameters: NO_CHANNEL, start of the hour, start of the next hour.
SUM_CALLS = (
    f"INSERT INTO account_usage (grain_hours, at, account, {', '.join((*KEY, *MEASURES))})"
    f" SELECT 1, created_at / {HOUR_MS} * {HOUR_MS}, account_id, model, COALESCE(channel, ?), status, {', '.join(CALL_MEASURES)}"
    f" FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
    " GROUP BY 2, 3, 4, 5, 6"
)
# Parameter: start of the hour.
DROP_SUMS = f"DELETE FROM account_usage WHERE grain_hours = 1 AND at = ? AND account NOT IN {_PURGING}"


_PLATFORM_SUMS = (
    f"SELECT 1 AS grain_hours, at, {', '.join(KEY)}, {', '.join(f'SUM({column}) AS {column}' for column in MEASURES)}"
    f" FROM account_usage WHERE grain_hours = 1 AND at = ? AND account NOT IN {_PURGING} GROUP BY at, {', '.join(KEY)}"
)


def _changed(sign: str, other: str) -> str:
    return ", ".join(
        f"{column} = NULLIF(COALESCE(platform_usage.{column}, 0) {sign} COALESCE({other}.{column}, 0), 0)"
        for column in MEASURES[1:]
    )


# Add an hour's account sums to the platform's sums, or subtract them. Parameter: start of the hour.
ADD_TO_PLATFORM = (
    f"INSERT INTO platform_usage (grain_hours, at, {', '.join((*KEY, *MEASURES))}) {_PLATFORM_SUMS}"
    f" ON CONFLICT (grain_hours, at, {', '.join(KEY)})"
    f" DO UPDATE SET calls = platform_usage.calls + excluded.calls, {_changed('+', 'excluded')}"
)
SUBTRACT_FROM_PLATFORM = (
    f"UPDATE platform_usage SET calls = platform_usage.calls - old.calls, {_changed('-', 'old')} FROM ({_PLATFORM_SUMS}) AS old"
    " WHERE platform_usage.grain_hours = 1 AND platform_usage.at = old.at"
    + "".join(f" AND platform_usage.{column} = old.{column}" for column in KEY)
)
DROP_EMPTY = "DELETE FROM platform_usage WHERE grain_hours = 1 AND at = ? AND calls = 0"


def sum_day(table: str) -> tuple[str, str]:
    """Return two statements that rebuild a day of `table` from its hours.

    Parameters of the first: start of the day; of the second: start of the day, start of the next day.
    """
    key = (*(("account",) if table == "account_usage" else ()), *KEY)
    return (
        f"DELETE FROM {table} WHERE grain_hours = 24 AND at = ?",
        f"INSERT INTO {table} (grain_hours, at, {', '.join((*key, *MEASURES))})"
        f" SELECT 24, at / {DAY_MS} * {DAY_MS}, {', '.join(key)}, {', '.join(f'SUM({column})' for column in MEASURES)}"
        f" FROM {table} WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY 2, {', '.join(key)}",
    )


_BUCKET = "".join(f" WHEN output_tokens < {high} THEN {number}" for number, high in enumerate(BOUNDS[1:]))
# Parameter: start of the hour.
DROP_OUTPUT_SIZES = "DELETE FROM output_size WHERE at = ?"
# Parameters: start of the hour, start of the next hour.
COUNT_OUTPUT_SIZES = (
    "INSERT INTO output_size (at, model, bucket, calls, reasoning_calls)"
    f" SELECT created_at / {HOUR_MS} * {HOUR_MS}, model, CASE{_BUCKET} ELSE {len(BOUNDS) - 1} END, COUNT(*),"
    " SUM(CASE WHEN reasoning_tokens > 0 THEN 1 ELSE 0 END)"
    " FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND status = 'completed' AND output_tokens > 0 GROUP BY 1, 2, 3"
)

FAILED = "status IN ('failed', 'expired')"
# Account totals of an hour from its sums (parameter: start of the hour), and of a day from its hours (parameters as `sum_day`).
DROP_TOTALS = DROP_SUMS.replace("account_usage", "account_total")
ADD_TOTALS = (
    "INSERT INTO account_total (grain_hours, at, account, calls, failed, credits)"
    f" SELECT 1, at, account, SUM(calls), SUM(CASE WHEN {FAILED} THEN calls ELSE 0 END), COALESCE(SUM(credits), 0)"
    f" FROM account_usage WHERE grain_hours = 1 AND at = ? AND account NOT IN {_PURGING} GROUP BY at, account"
)
TOTAL_DAY = (
    "DELETE FROM account_total WHERE grain_hours = 24 AND at = ?",
    "INSERT INTO account_total (grain_hours, at, account, calls, failed, credits)"
    f" SELECT 24, at / {DAY_MS} * {DAY_MS}, account, SUM(calls), SUM(failed), SUM(credits)"
    " FROM account_total WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY 2, account",
)

# Compared to detect late or newly settled calls. Parameters: start of the hour, start of the next hour.
_FINGERPRINT = ("credits", "input_tokens", "output_tokens", "duration_ms", "provider_cost")
COUNT_CALLS = (
    f"SELECT COUNT(*), {', '.join(f'COALESCE(SUM({column}), 0)' for column in _FINGERPRINT)}"
    f" FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
)
COUNT_SUMS = (
    f"SELECT COALESCE(SUM(calls), 0), {', '.join(f'COALESCE(SUM({column}), 0)' for column in _FINGERPRINT)}"
    f" FROM account_usage WHERE grain_hours = 1 AND at >= ? AND at < ? AND account NOT IN {_PURGING}"
)

# Sums by key and model, and by key and tag.

MAX_TAGS = 100  # tags of an account that are summed separately, per hour and per day
OTHER_TAGS = "(other)"  # the group of all other tags; callers cannot send this tag
KEY_MEASURES = ("calls", "failed", "input_tokens", "cached_tokens", "output_tokens", "credits")
# Expressions over calls for `KEY_MEASURES`.
KEY_CALL_MEASURES = (
    "COUNT(*)",
    f"SUM(CASE WHEN {FAILED} THEN 1 ELSE 0 END)",
    *(f"SUM({column})" for column in KEY_MEASURES[2:]),
)
_KEY_SUMS = tuple(f"SUM({column})" for column in KEY_MEASURES)
_PLACED_TAG = f"CASE WHEN place <= {MAX_TAGS} THEN tag ELSE '{OTHER_TAGS}' END"

# Parameters: NO_KEY, start of the hour, start of the next hour.
SUM_KEYS = (
    f"INSERT INTO key_usage (grain_hours, at, account, api_key, model, {', '.join(KEY_MEASURES)})"
    f" SELECT 1, created_at / {HOUR_MS} * {HOUR_MS}, account_id, COALESCE(api_key, member, ?), model,"
    f" {', '.join(KEY_CALL_MEASURES)} FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
    " GROUP BY 2, 3, 4, 5"
)
# Parameters: NO_KEY, then twice the start of the hour and the start of the next hour.
SUM_TAGS = (
    f"INSERT INTO tag_usage (grain_hours, at, account, api_key, tag, {', '.join(KEY_MEASURES)})"
    f" SELECT 1, created_at / {HOUR_MS} * {HOUR_MS}, account_id, COALESCE(api_key, member, ?), {_PLACED_TAG},"
    f" {', '.join(KEY_CALL_MEASURES)} FROM usage_ledger JOIN ("
    "SELECT account_id, tag, ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY COUNT(*) DESC, tag) AS place"
    " FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND tag IS NOT NULL GROUP BY account_id, tag"
    ") AS places USING (account_id, tag)"
    f" WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
    " GROUP BY 2, 3, 4, 5"
)
DROP_KEY_SUMS = tuple(DROP_SUMS.replace("account_usage", table) for table in ("key_usage", "tag_usage"))
# Parameter: start of the day.
DROP_KEY_DAYS = tuple(f"DELETE FROM {table} WHERE grain_hours = 24 AND at = ?" for table in ("key_usage", "tag_usage"))
# Parameters: start of the day, start of the next day.
SUM_KEY_DAY = (
    f"INSERT INTO key_usage (grain_hours, at, account, api_key, model, {', '.join(KEY_MEASURES)})"
    f" SELECT 24, at / {DAY_MS} * {DAY_MS}, account, api_key, model, {', '.join(_KEY_SUMS)}"
    " FROM key_usage WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY 2, 3, 4, 5"
)
# Parameters: twice the start of the day and the start of the next day.
SUM_TAG_DAY = (
    f"INSERT INTO tag_usage (grain_hours, at, account, api_key, tag, {', '.join(KEY_MEASURES)})"
    f" SELECT 24, at / {DAY_MS} * {DAY_MS}, account, api_key, {_PLACED_TAG}, {', '.join(_KEY_SUMS)} FROM tag_usage JOIN ("
    "SELECT account, tag, ROW_NUMBER() OVER (PARTITION BY account ORDER BY"
    f" CASE WHEN tag = '{OTHER_TAGS}' THEN 1 ELSE 0 END, SUM(calls) DESC, tag) AS place"
    " FROM tag_usage WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY account, tag"
    ") AS places USING (account, tag) WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY 2, 3, 4, 5"
)
