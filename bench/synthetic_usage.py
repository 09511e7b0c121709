"""Fills a database with millions of synthetic calls, distributed like a real platform's.

    python -m bench.synthetic_usage DATABASE_URL [--rows 10000000] [--days 30] [--accounts 2000] [--models 40] [--copies 0]

For PostgreSQL (COPY). An empty database is migrated first; never use one with real data. A few accounts and models make most of
the calls, days are busier than nights, one call in 25 fails; some statuses, errors, models and channels are very rare. Every
fourth account is a team, whose second key belongs to another member. Each call with a cost has its charge in the ledger, with its
hash, so that `yout ledger verify` finds no problem. Then the usage rollups are built, as a worker would.

`--copies 9` makes ten times as many calls, much faster: it repeats calls and rollups, but not charges, in nine earlier periods of
`--days`, each in its own partition. To continue in a filled database, use `--rows 0`, with `--from-copy` if it has some already.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shared.core.billing_periods import month_of
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.ledger.partitions import id_bound, list_partitions
from shared.ledger.sql import entry_month
from shared.ledger.witness import NO_HEAD, entry_details, witness_entry
from shared.models import (
    Account,
    AccountTotal,
    AccountUsage,
    AIModel,
    ApiKey,
    Channel,
    ChannelModel,
    KeyUsage,
    LedgerEntry,
    Member,
    Person,
    PlatformUsage,
    Price,
    RollupState,
    UsageLedger,
)
from shared.rollup import update_sums
from tests.databases import opened

CHUNK = 200_000
SAMPLE = 1_000_000  # calls that are made one by one; more are repetitions of these at other times of their hour
HOUR_MS = 3_600_000
COLUMNS = (
    *("id", "account_id", "api_key", "model", "channel", "price", "status", "error_code", "streamed", "estimated"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits"),
    *("attempts", "first_token_ms", "duration_ms", "created_at", "provider_cost", "request_sha256", "member"),
)
NULL = "\\N"  # NULL in COPY's format
TEAMS = 4  # every fourth account is one
STATUSES = ("completed", "cancelled", "failed", "expired")
STATUS_SHARES = (0.96, 0.02, 0.0199, 0.0001)
ERRORS = ("upstream_timeout", "upstream_error", "rate_limited", "upstream_rejected", "odd_error")
ERROR_SHARES = (0.5, 0.3, 0.15, 0.0499, 0.0001)


class World(NamedTuple):
    """The ids of accounts, keys, the members of second keys, models and channels, as text."""

    accounts: list[str]
    keys: list[tuple[str, str]]
    members: list[str]
    models: list[str]
    prices: list[str]
    channels: list[str]
    serving: list[list[int]]


def build_world(accounts: int, models: int) -> World:
    """Insert the rows that calls refer to. Names include the run, so that a database can be filled more than once."""
    run = new_id().hex[-8:]
    owners = [{"email": f"customer-{number}-{run}@example.com", "id": new_id()} for number in range(accounts)]
    people = [{"email": owner["email"], "id": owner["id"]} for owner in owners]
    members = [{"account": owner["id"], "person": owner["id"], "role": "owner", "id": owner["id"]} for owner in owners]
    seconds: list[UUID | None] = []
    for number, owner in enumerate(owners):
        seconds.append(None if number % TEAMS else new_id())
        if seconds[-1] is not None:
            people.append({"email": f"colleague-{number}-{run}@example.com", "id": seconds[-1]})
            members.append({"account": owner["id"], "person": seconds[-1], "role": "developer", "id": seconds[-1]})
    keys = [
        _key(owner["id"], name, member)
        for owner, second in zip(owners, seconds, strict=True)
        for name, member in (("one", None), ("two", second))
    ]
    channels = [
        {"name": f"channel-{number}-{run}", "dialect": "openai", "base_url": "https://up.example/v1", "id": new_id()}
        for number in range(max(3, models // 5))
    ]
    catalog = [{"id": f"maker-{number % 7}/model-{number}-{run}", "kind": "chat"} for number in range(models)]
    prices = [
        {"model": model["id"], "credits_per_1k_input": 150, "credits_per_1k_output": 600, "id": new_id()} for model in catalog
    ]
    serving = [[(number + step) % len(channels) for step in range(1 + number % 3)] for number in range(models)]
    links = [
        {
            "channel": channels[index]["id"],
            "model": catalog[number]["id"],
            "upstream_model": "m",
            "priority": place,
            "id": new_id(),
        }
        for number, served in enumerate(serving)
        for place, index in enumerate(served)
    ]
    people_tables = {Account: owners, Person: people, Member: members, ApiKey: keys}
    tables = people_tables | {Channel: channels, AIModel: catalog, Price: prices, ChannelModel: links}
    with database.atomic():
        for table, rows in tables.items():
            for start in range(0, len(rows), 500):
                table.insert_many(rows[start : start + 500]).execute()
    pairs = list(zip(keys[::2], keys[1::2], strict=True))
    return World(
        [str(row["id"]) for row in owners],
        [(str(one["id"]), str(two["id"])) for one, two in pairs],
        [str(member or NULL) for member in seconds],
        [str(row["id"]) for row in catalog],
        [str(row["id"]) for row in prices],
        [str(row["id"]) for row in channels],
        serving,
    )


def _key(account: UUID, name: str, member: UUID | None) -> dict[str, object]:
    made = new_id()
    names = {"name": name, "digest": made.hex * 2, "prefix": f"sk-yout-{made.hex[-4:]}…"}
    return {"account": account, "member": member, "id": made, **names}


def lines(world: World, rows: int, since: int, until: int, seed: int) -> Iterator[bytes]:
    """Yield the calls in COPY's format, oldest first, in chunks of lines."""
    random = np.random.default_rng(seed)
    bounds = np.linspace(since, until, -(-rows // CHUNK) + 1).astype(np.int64)
    for start, (low, high) in zip(range(0, rows, CHUNK), pairwise(bounds), strict=True):
        yield _chunk(world, random, min(CHUNK, rows - start), int(low), int(high))


def _chunk(world: World, random: np.random.Generator, count: int, low: int, high: int) -> bytes:
    moments = np.sort(_by_daylight(random, count, low, high))
    accounts = _zipf(random, count, len(world.accounts))
    models = _zipf(random, count, len(world.models))
    statuses = random.choice(len(STATUSES), count, p=STATUS_SHARES)
    errors = random.choice(len(ERRORS), count, p=ERROR_SHARES)
    inputs, outputs = random.lognormal(6, 1.2, count).astype(int) + 1, random.lognormal(5, 1, count).astype(int) + 1
    first, rest = random.lognormal(5.8, 0.7, count).astype(int), random.lognormal(7, 0.8, count).astype(int)
    dice, low_bits = random.random((3, count)), random.integers(0, 2**62, count)
    columns = (moments, accounts, models, statuses, errors, inputs, outputs, first, rest, *dice, low_bits)
    return "".join(_line(world, *row) for row in zip(*(column.tolist() for column in columns), strict=True)).encode()


def _line(
    world: World,
    moment: int,
    account: int,
    model: int,
    status: int,
    error: int,
    input: int,
    output: int,
    first: int,
    rest: int,
    coin: float,
    shape: float,
    luck: float,
    bits: int,
) -> str:
    good, served = status < 2, world.serving[model]
    output = output if good else 0
    credits = max(10, -(-(150 * input + 600 * output) // 1000)) if good else 0
    low = bits | 1 << 63
    fields = (
        f"{moment >> 16:08x}-{moment & 0xFFFF:04x}-7{(bits >> 40) & 0xFFF:03x}-{low >> 48:04x}-{low & 0xFFFFFFFFFFFF:012x}",
        *(world.accounts[account], world.keys[account][coin < 0.2], world.models[model]),
        world.channels[served[0 if luck < 0.9 else -1]] if status < 3 else NULL,
        *(world.prices[model], STATUSES[status]),
        ERRORS[error] if status == 2 else "hold_expired" if status == 3 else NULL,
        *("t" if shape < 0.7 else "f", "t" if luck < 0.01 else "f"),
        *(input, input // 3 if coin < 0.3 else 0, output, output // 2 if shape < 0.1 else 0, credits, 0),
        *(1 + (luck > 0.98), first if good else NULL, first + rest, moment, credits * 6 // 10),
        rf"\\x{bits:016x}{moment:016x}{bits * 3 + input:016x}{low:016x}" if status < 3 else NULL,
        world.members[account] if coin < 0.2 else NULL,
    )
    return "\t".join(map(str, fields)) + "\n"


def _zipf(random: np.random.Generator, count: int, size: int) -> NDArray[np.int64]:
    """Return numbers below `size`, with a Zipf-like preference for small ones."""
    weights = 1 / np.arange(1, size + 1) ** 1.1
    return np.searchsorted(np.cumsum(weights / weights.sum()), random.random(count)).clip(0, size - 1)


def _by_daylight(random: np.random.Generator, count: int, low: int, high: int) -> NDArray[np.int64]:
    """Return random times from `low` to `high`, three times as many at noon as at midnight."""
    moments = random.integers(low, high, 2 * count)
    share = 0.5 - 0.25 * np.cos(2 * np.pi * (moments % (24 * HOUR_MS)) / (24 * HOUR_MS))
    kept = moments[random.random(2 * count) < share / 0.75]
    return np.concatenate((kept, moments))[:count]


def fill(rows: int, days: int, accounts: int, models: int, *, seed: int = 1) -> None:
    """Fill the bound database and build the rollups. Indexes are dropped for the COPY and created again afterwards."""
    if not hasattr(database.obj, "connect_params"):
        raise SystemExit("Only PostgreSQL is supported.")
    world = build_world(accounts, models)
    until = now_ms()
    split_past(until - days * 24 * HOUR_MS)
    since = until - days * 24 * HOUR_MS
    began = time.monotonic()
    indexes = [index for index in UsageLedger._meta.fields_to_index() if index._name]
    columns = ", ".join(COLUMNS)
    sample = min(rows, SAMPLE)
    with database.atomic():
        for index in indexes:
            database.execute_sql(f"DROP INDEX {index._name}")
        # Referenced rows exist, so foreign key checks can be skipped.
        database.execute_sql("SET LOCAL session_replication_role = replica")
        database.execute_sql("CREATE TEMPORARY TABLE sample (LIKE usage_ledger INCLUDING DEFAULTS) ON COMMIT DROP")
        with database.connection().cursor().copy(f"COPY sample ({columns}) FROM STDIN") as copy:
            for chunk in lines(world, sample, since, until, seed):
                copy.write(chunk)
        database.execute_sql("CREATE INDEX ON sample (created_at)")
        _say("sample written", began)
        for start in range(since, until, HOUR_MS):
            span = min(HOUR_MS, until - start)
            database.execute_sql(REPEAT.format(columns=columns, times=rows // sample, start=start, span=span))
        _say("calls written", began)
        for index in indexes:
            database.execute(index)
        _say("indexes created", began)
    database.execute_sql("VACUUM ANALYZE usage_ledger")
    _say("vacuumed", began)
    fill_ledger(since)
    _say("charges written", began)
    AccountTotal.delete().execute()
    AccountUsage.delete().execute()
    PlatformUsage.delete().execute()
    RollupState.update(rolled_until=None, checked_at=None).execute()
    while not update_sums(now_ms(), 30).up_to_date:
        _say("building rollups", began)
    _vacuum_sums()
    _say("rollups built", began)


def _vacuum_sums() -> None:
    for model in SUMS:
        database.execute_sql(f"VACUUM ANALYZE {model._meta.table_name}")


# Parameters: columns, repetitions, start and length of an hour (ms).
REPEAT = """
    INSERT INTO usage_ledger ({columns})
    SELECT (left(hex, 8) || '-' || right(hex, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid,
        account_id, api_key, model, channel, price, status, error_code, streamed, estimated, input_tokens, cached_tokens,
        output_tokens, reasoning_tokens, credits, overrun_credits, attempts, first_token_ms, duration_ms, moved, provider_cost,
        request_sha256, member
    FROM (
        SELECT *, lpad(to_hex(moved), 12, '0') AS hex FROM (
            SELECT *, {start} + floor(random() * {span})::bigint AS moved FROM sample, generate_series(1, {times})
            WHERE created_at >= {start} AND created_at < {start} + {span}
        ) AS repeated
    ) AS calls ORDER BY moved
"""
SUMS = (PlatformUsage, AccountUsage, AccountTotal, KeyUsage)
GRANT = 10**12
ENTRY_COLUMNS = (
    *("account_id", "seq", "kind", "amount", "balance_after", "call", "actor", "reason", "created_at", "plan_amount", "month"),
    *("entry_hash", "commitment", "salt"),
)
# What the charge of a call commits to, in the order of `entry_details`.
DETAILS = (
    *("model", "price", "status", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("estimated", "extra_usage", "credits", "overage_credits", "overrun_credits", "created_at"),
)
CHARGED = f"""
    SELECT account_id, id, created_at + duration_ms, credits, encode(request_sha256, 'hex'), {", ".join(DETAILS)}
    FROM usage_ledger WHERE credits > 0 AND id >= '{{since}}' AND account_id IN (SELECT id FROM account WHERE ledger_seq = 0)
    ORDER BY account_id, id
"""


def fill_ledger(since: int) -> None:
    """Insert a grant and the charges of all calls from `since` (ms UTC) for the accounts without entries."""
    index = next(index for index in LedgerEntry._meta.fields_to_index() if index._name == "ledger_entry_created_at")
    connection: Any = database.connection()
    with database.atomic():
        database.execute_sql("SET LOCAL session_replication_role = replica")
        database.execute_sql("DROP INDEX ledger_entry_created_at")
        with connection.cursor("charged") as calls:
            calls.execute(CHARGED.format(since=id_bound(since)))
            chain = None
            while rows := calls.fetchmany(50_000):
                entries = []
                for row in rows:
                    if chain is None or chain.account != row[0]:
                        _close(chain)
                        chain = _Chain(row[0])
                        entries.append(chain.grant(since))
                    entries.append(chain.charge(*row[1:]))
                with connection.cursor().copy(f"COPY ledger_entry ({', '.join(ENTRY_COLUMNS)}) FROM STDIN") as copy:
                    for entry in entries:
                        copy.write_row(entry)
            _close(chain)
        database.execute(index)
    database.execute_sql("VACUUM ANALYZE ledger_entry")
    database.execute_sql("VACUUM ANALYZE account")


class _Chain:
    """The entries of one account."""

    def __init__(self, account: UUID) -> None:
        self.account = account
        self.seq = self.balance = 0
        self.head = NO_HEAD

    def grant(self, at: int) -> tuple[object, ...]:
        return self._entry("grant", GRANT, None, "bench", at, month_of(at), None)

    def charge(self, call: UUID, at: int, credits: int, request: str | None, *usage: Any) -> tuple[object, ...]:
        return self._entry("charge", -credits, call, "edge", at, entry_month(call, at), (*usage, request))

    def _entry(
        self, kind: str, amount: int, call: UUID | None, actor: str, at: int, month: int, usage: Sequence[Any] | None
    ) -> tuple[object, ...]:
        self.seq, self.balance = self.seq + 1, self.balance + amount
        details = entry_details(actor, "", call, usage)
        self.head, *rest = witness_entry(self.head, self.account, self.seq, kind, (amount, self.balance, 0), at, details)
        return (self.account, self.seq, kind, amount, self.balance, call, actor, "", at, 0, month, self.head, *rest)


def _close(chain: _Chain | None) -> None:
    """Update the account of a complete chain."""
    if chain is not None:
        values = {"balance": chain.balance, "ledger_seq": chain.seq, "ledger_head": chain.head}
        Account.update(**values).where(Account.id == chain.account).execute()


def split_past(since: int) -> None:
    """Replace the empty first partition of calls by one that begins at `since` (ms UTC), to make room for earlier ones."""
    first = list_partitions("usage_ledger")[0]
    database.execute_sql(f"DROP TABLE {first.name}")
    _attach("usage_ledger_now", since, first.until)


def _attach(name: str, since: int, until: int, rows: str = "") -> None:
    """Add a partition with the result of the query `rows`. Its indexes are built afterwards."""
    with database.atomic():
        database.execute_sql(f"CREATE TABLE {name} (LIKE usage_ledger INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        if rows:
            database.execute_sql(f"INSERT INTO {name} {rows}")
        bounds = f"'{id_bound(since)}'", f"'{id_bound(until)}'"
        database.execute_sql(f"ALTER TABLE {name} ADD CHECK (id >= {bounds[0]} AND id < {bounds[1]})")  # attaches without a scan
        database.execute_sql(f"ALTER TABLE usage_ledger ATTACH PARTITION {name} FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})")
    database.execute_sql(f"VACUUM ANALYZE {name}")


def copy_period(number: int, days: int) -> None:
    """Repeat the calls and their sums `number` periods earlier."""
    copy_calls(number, days)
    copy_sums(number, days)


def copy_calls(number: int, days: int) -> None:
    shift, since = _shift(number, days)
    names = [column.name for column in database.get_columns("usage_ledger")]
    time = f"lpad(to_hex(created_at - {shift}), 12, '0')"
    earlier = {
        "id": f"(left({time}, 8) || '-' || right({time}, 4) || substr(id::text, 14))::uuid",
        "created_at": f"created_at - {shift}",
    }
    rows = f"SELECT {', '.join(earlier.get(name, name) for name in names)} FROM usage_ledger_now"
    _attach(f"usage_ledger_copy_{number}", since - shift, since - shift + days * 24 * HOUR_MS, rows)


def copy_sums(number: int, days: int) -> None:
    shift, since = _shift(number, days)
    for model in SUMS:
        table, columns = model._meta.table_name, model._meta.columns
        kept = "" if model is PlatformUsage else " AND grain_hours = 24"  # account hours are kept for eight days
        values = ", ".join(f"at - {shift}" if column == "at" else column for column in columns)
        database.execute_sql(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE at >= {since}{kept}"
            " ON CONFLICT DO NOTHING"
        )


def _shift(number: int, days: int) -> tuple[int, int]:
    """Return by how much to move the calls of the last period, and its start (ms)."""
    (since,) = (partition.since for partition in list_partitions("usage_ledger") if partition.name == "usage_ledger_now")
    assert since is not None
    return number * days * 24 * HOUR_MS, since


def _say(what: str, began: float) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr)


def prepare(chosen: argparse.Namespace) -> None:
    """Fill the bound database as the options say."""
    if chosen.rows:
        fill(chosen.rows, chosen.days, chosen.accounts, chosen.models)
    began = time.monotonic()
    for number in range(chosen.from_copy, chosen.from_copy + chosen.copies):
        copy_period(number, chosen.days)
        _say(f"copy {number} made", began)
    if chosen.copies:
        _vacuum_sums()


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--rows", type=int, default=10_000_000, help="calls")
    parser.add_argument("--days", type=int, default=30, help="days covered, up to now")
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--copies", type=int, default=0, help="earlier periods with the same calls")
    parser.add_argument("--from-copy", type=int, default=1, metavar="NUMBER", help="the first of the copies")
    return parser


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.synthetic_usage", description=str(__doc__).splitlines()[0])
    parser.add_argument("url", metavar="DATABASE_URL")
    chosen = arguments(parser).parse_args()
    target: Any
    with opened(chosen.url) as target:
        target.answer_seconds = 0  # no limit
        bind_database(target)
        migrate(target)
        prepare(chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
