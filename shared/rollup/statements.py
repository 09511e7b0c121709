"""The statements of the sums, built once: the same text on SQLite and PostgreSQL."""

from __future__ import annotations

from shared.latency import BOUNDS_MS, columns

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

KEY = ("model", "channel", "status")
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
COUNTERS = ("calls", "estimated", *TOKENS, "credits", "overrun_credits", "duration_ms", "overage_credits")
LATENCIES = ("first_token", "duration")
MEASURES = (*COUNTERS, *(column for measure in LATENCIES for column in columns(measure)))


def bucket_counts(measure: str) -> list[str]:
    """Expressions that count calls by bucket of `measure`, in the order of `shared.latency.columns`; NULL for none."""
    value = f"{measure}_ms"
    ends = [f" AND {value} < {high}" for high in BOUNDS_MS[1:]] + [""]
    return [f"SUM(CASE WHEN {value} >= {low}{end} THEN 1 END)" for low, end in zip(BOUNDS_MS, ends, strict=True)]


# Of calls: what `MEASURES` are. COUNT is never NULL; the rest is where it is 0.
OF_CALLS = (
    "COUNT(*)",
    "SUM(CASE WHEN estimated THEN 1 END)",
    *(f"NULLIF(SUM({column}), 0)" for column in COUNTERS[2:]),
    *(expression for measure in LATENCIES for expression in bucket_counts(measure)),
)
_PURGING = "(SELECT account_id FROM purge_job WHERE status <> 'done')"

# Takes: no channel, and the hour's first and next hour's first millisecond.
SUM_CALLS = (
    f"INSERT INTO account_usage (grain_hours, at, account, {', '.join((*KEY, *MEASURES))})"
    f" SELECT 1, created_at / {HOUR_MS} * {HOUR_MS}, account_id, model, COALESCE(channel, ?), status, {', '.join(OF_CALLS)}"
    f" FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
    " GROUP BY 2, 3, 4, 5, 6"
)
# Takes the hour.
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


# An hour's sums of the accounts, added to the platform's or taken out of them. Take the hour.
ADD_TO_PLATFORM = (
    f"INSERT INTO platform_usage (grain_hours, at, {', '.join((*KEY, *MEASURES))}) {_PLATFORM_SUMS}"
    f" ON CONFLICT (grain_hours, at, {', '.join(KEY)})"
    f" DO UPDATE SET calls = platform_usage.calls + excluded.calls, {_changed('+', 'excluded')}"
)
TAKE_FROM_PLATFORM = (
    f"UPDATE platform_usage SET calls = platform_usage.calls - old.calls, {_changed('-', 'old')} FROM ({_PLATFORM_SUMS}) AS old"
    " WHERE platform_usage.grain_hours = 1 AND platform_usage.at = old.at"
    + "".join(f" AND platform_usage.{column} = old.{column}" for column in KEY)
)
DROP_EMPTY = "DELETE FROM platform_usage WHERE grain_hours = 1 AND at = ? AND calls = 0"


def sum_day(table: str) -> tuple[str, str]:
    """Two statements that make a day of `table` from its hours. The first takes the day, the second its first millisecond and
    the next day's."""
    key = (*(("account",) if table == "account_usage" else ()), *KEY)
    return (
        f"DELETE FROM {table} WHERE grain_hours = 24 AND at = ?",
        f"INSERT INTO {table} (grain_hours, at, {', '.join((*key, *MEASURES))})"
        f" SELECT 24, at / {DAY_MS} * {DAY_MS}, {', '.join(key)}, {', '.join(f'SUM({column})' for column in MEASURES)}"
        f" FROM {table} WHERE grain_hours = 1 AND at >= ? AND at < ? GROUP BY 2, {', '.join(key)}",
    )


FAILED = "status IN ('failed', 'expired')"
# The accounts' totals of an hour, made of its sums; each takes the hour. Then those of a day, made of its hours, as `sum_day`'s.
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

# What an hour is known by: compared, they tell whether a call came late or was settled anew. Take the hour and the next.
_KNOWN_BY = ("credits", "input_tokens", "output_tokens", "duration_ms")
COUNT_CALLS = (
    f"SELECT COUNT(*), {', '.join(f'COALESCE(SUM({column}), 0)' for column in _KNOWN_BY)}"
    f" FROM usage_ledger WHERE created_at >= ? AND created_at < ? AND account_id NOT IN {_PURGING}"
)
COUNT_SUMS = (
    f"SELECT COALESCE(SUM(calls), 0), {', '.join(f'COALESCE(SUM({column}), 0)' for column in _KNOWN_BY)}"
    f" FROM account_usage WHERE grain_hours = 1 AND at >= ? AND at < ? AND account NOT IN {_PURGING}"
)
