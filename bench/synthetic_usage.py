"""Fills a database with millions of synthetic calls, distributed like a real platform's.

    python -m bench.synthetic_usage DATABASE_URL [--rows 10000000] [--days 30] [--accounts 2000] [--models 40]

For PostgreSQL (COPY). An empty database is migrated first; never use one with real data. A few accounts and models make most of
the calls, days are busier than nights, one call in 25 fails; some statuses, errors, models and channels are very rare. At the end
the usage rollups are built, as a worker would.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.models import (
    Account,
    AccountTotal,
    AccountUsage,
    AIModel,
    ApiKey,
    Channel,
    ChannelModel,
    PlatformUsage,
    Price,
    RollupState,
    UsageLedger,
)
from shared.rollup import update_sums
from tests.databases import opened

CHUNK = 200_000
HOUR_MS = 3_600_000
COLUMNS = (
    *("id", "account_id", "api_key", "model", "channel", "price", "status", "error_code", "streamed", "estimated"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits"),
    *("attempts", "first_token_ms", "duration_ms", "created_at"),
)
NULL = "\\N"  # NULL in COPY's format
STATUSES = ("completed", "cancelled", "failed", "expired")
STATUS_SHARES = (0.96, 0.02, 0.0199, 0.0001)
ERRORS = ("upstream_timeout", "upstream_error", "rate_limited", "upstream_rejected", "odd_error")
ERROR_SHARES = (0.5, 0.3, 0.15, 0.0499, 0.0001)


class World(NamedTuple):
    """The ids of accounts, keys, models and channels, as text."""

    accounts: list[str]
    keys: list[tuple[str, str]]
    models: list[str]
    prices: list[str]
    channels: list[str]
    serving: list[list[int]]


def build_world(accounts: int, models: int) -> World:
    """Insert the rows that calls refer to. Names include the run, so that a database can be filled more than once."""
    run = new_id().hex[-8:]
    owners = [{"email": f"customer-{number}-{run}@example.com", "id": new_id()} for number in range(accounts)]
    keys = [_key(owner["id"], name) for owner in owners for name in ("one", "two")]
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
    tables = {Account: owners, ApiKey: keys, Channel: channels, AIModel: catalog, Price: prices, ChannelModel: links}
    with database.atomic():
        for table, rows in tables.items():
            for start in range(0, len(rows), 500):
                table.insert_many(rows[start : start + 500]).execute()
    pairs = list(zip(keys[::2], keys[1::2], strict=True))
    return World(
        [str(row["id"]) for row in owners],
        [(str(one["id"]), str(two["id"])) for one, two in pairs],
        [str(row["id"]) for row in catalog],
        [str(row["id"]) for row in prices],
        [str(row["id"]) for row in channels],
        serving,
    )


def _key(account: UUID, name: str) -> dict[str, object]:
    made = new_id()
    return {"account": account, "name": name, "digest": made.hex * 2, "prefix": f"sk-yout-{made.hex[-4:]}…", "id": made}


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
        *(1 + (luck > 0.98), first if good else NULL, first + rest, moment),
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
    began = time.monotonic()
    indexes = [index for index in UsageLedger._meta.fields_to_index() if index._name]
    with database.atomic():
        for index in indexes:
            database.execute_sql(f"DROP INDEX {index._name}")
        database.execute_sql(
            "SET LOCAL session_replication_role = replica"
        )  # referenced rows exist, so foreign key checks can be skipped
        with database.connection().cursor().copy(f"COPY usage_ledger ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for chunk in lines(world, rows, until - days * 24 * HOUR_MS, until, seed):
                copy.write(chunk)
        _say("calls written", began)
        for index in indexes:
            database.execute(index)
        _say("indexes created", began)
    database.execute_sql("VACUUM ANALYZE usage_ledger")
    _say("vacuumed", began)
    AccountTotal.delete().execute()
    AccountUsage.delete().execute()
    PlatformUsage.delete().execute()
    RollupState.update(rolled_until=None, checked_at=None).execute()
    while not update_sums(now_ms(), 30).up_to_date:
        _say("building rollups", began)
    for table in ("account_total", "account_usage", "platform_usage"):
        database.execute_sql(f"VACUUM ANALYZE {table}")
    _say("rollups built", began)


def _say(what: str, began: float) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr)


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--rows", type=int, default=10_000_000, help="calls")
    parser.add_argument("--days", type=int, default=30, help="days covered, up to now")
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--models", type=int, default=40)
    return parser


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.synthetic_usage", description=str(__doc__).splitlines()[0])
    parser.add_argument("url", metavar="DATABASE_URL")
    chosen = arguments(parser).parse_args()
    with opened(chosen.url) as target:
        bind_database(target)
        migrate(target)
        fill(chosen.rows, chosen.days, chosen.accounts, chosen.models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
