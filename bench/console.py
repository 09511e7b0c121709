"""Server time of the console's pages with many calls, from the `Server-Timing` header.

    python -m bench.console [--rows 10000000] [--days 30] [--rounds 5]     on a new PostgreSQL, filled first
    python -m bench.console --url DATABASE_URL --rows 0                    on one that `bench.synthetic_usage` has filled

Measures every range of Home, and Usage with each filter, with a common and the rarest value. Pages are requested in turn,
`--rounds` times; the first round, with cold caches, is reported separately.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from flask.testing import FlaskClient

from bench.gateway.postgres import DurablePostgres
from bench.synthetic_usage import arguments, prepare
from console.app import create_app
from shared.core.clock import new_id
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.core.settings import Settings
from shared.models import NO_CHANNEL
from shared.operations.audit import Origin
from shared.operations.staff import create_staff
from tests.databases import opened

GOAL_MS = 300
SECRET_KEY = "bench-secret-key-of-more-than-32-characters"


@contextmanager
def own_postgres() -> Iterator[str]:
    server = DurablePostgres()
    try:
        yield server.create_database()
    finally:
        server.stop()


def sign_in(folder: str) -> FlaskClient:
    """Return a client with the session of a new read-only staff member; `folder` is the console's data folder."""
    settings = Settings.load({"SECRET_KEY": SECRET_KEY, "YOUT_DATA_DIR": folder}, dotenv=None)
    client = create_app(settings).test_client()
    person, password = create_staff(f"bench-{new_id().hex}@yout.example", "readonly", origin=Origin("bench"))
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/login").text)
    assert token is not None
    client.post("/login", data={"csrf_token": token[1], "email": person.email, "password": password})
    return client


def value(sql: str) -> str:
    row = database.execute_sql(sql).fetchone()
    return str(row[0]) if row else ""


def pages() -> dict[str, str]:
    """Return the URLs to measure, by name."""
    by_size = (
        "SELECT {column} FROM {table} WHERE grain_hours = 24"
        f" AND channel <> '{NO_CHANNEL}' GROUP BY 1 ORDER BY SUM(calls) {{order}} LIMIT 1"
    )

    def ends(column: str, table: str = "platform_usage") -> dict[str, str]:
        return {
            word: value(by_size.format(column=column, table=table, order=order))
            for word, order in (("busiest", "DESC"), ("quietest", "ASC"))
        }

    accounts, models, channels = ends("account", "account_usage"), ends("model"), ends("channel")
    keys = {word: value(f"SELECT id FROM api_key WHERE account_id = '{account}' LIMIT 1") for word, account in accounts.items()}
    found = {f"Home, {name}": f"/?range={name}" for name in ("1h", "24h", "7d", "30d")}
    for what, values in (("account", accounts), ("model", models), ("channel", channels)):
        found |= {f"Home, 30d, {word} {what}": f"/?range=30d&{what}={chosen}" for word, chosen in values.items()}
    found["Usage"] = "/usage/"
    found |= {f"Usage, {name}": f"/usage/?range={name}" for name in ("1h", "24h", "7d", "30d")}
    found["Usage, two old days"] = f"/usage/?since={value(_DAYS_AGO.format(20))}&until={value(_DAYS_AGO.format(18))}"
    for what, values in (("account", accounts), ("key", keys), ("model", models), ("channel", channels)):
        found |= {f"Usage, {word} {what}": f"/usage/?{what}={chosen}" for word, chosen in values.items()}
    found |= {f"Usage, {word}": f"/usage/?status={word}" for word in ("completed", "cancelled", "failed", "expired")}
    found |= {f"Usage, {code}": f"/usage/?error={code}" for code in ("upstream_timeout", "odd_error", "no_such_error")}
    for what in ("estimated", "streamed"):
        found |= {f"Usage, {what}: {word}": f"/usage/?{what}={word}" for word in ("yes", "no")}
    call = value("SELECT id FROM usage_ledger ORDER BY created_at LIMIT 1")
    found |= {"Usage, one request": f"/usage/?request={call}", "Receipt": f"/usage/{call}"}
    for word in ("busiest", "quietest"):
        found[f"Account, {word}"] = f"/accounts/{accounts[word]}"
        found[f"Key of {word} account"] = f"/keys/{keys[word]}"
        found[f"Model, {word}"] = f"/models/id/{models[word]}"
        found[f"Channel, {word}"] = f"/channels/{channels[word]}"
        found[f"Ledger, {word} account"] = f"/ledger/?account={accounts[word]}"
    found |= {f"Ledger, {kind}": f"/ledger/?kind={kind}" for kind in ("charge", "refund")}
    found |= {f"{name.capitalize()}": f"/{name}/" for name in ("accounts", "keys", "models", "channels", "plans")}
    found |= {"Holds": "/holds/", "Ledger": "/ledger/", "Media jobs": "/jobs/", "Audit log": "/audit/"}
    return found


_DAYS_AGO = "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '{} days', 'YYYY-MM-DD')"


def measure(client: Any, path: str) -> float:
    """Return the server's milliseconds for one response."""
    answer = client.get(path)
    if answer.status_code != 200 or "Query timed out" in answer.text:
        raise SystemExit(f"{path} answered {answer.status_code}")
    return float(answer.headers["Server-Timing"].removeprefix("app;dur="))


def report(rounds: int, folder: str) -> int:
    """Print a table. Returns how many pages missed the goal."""
    client, addresses = sign_in(folder), pages()
    taken: dict[str, list[float]] = {name: [] for name in addresses}
    for _ in range(rounds):
        for name, path in addresses.items():
            taken[name].append(measure(client, path))
    print("| page | median ms | slowest ms | first ms |\n| --- | ---: | ---: | ---: |")
    for name, (first, *rest) in taken.items():
        print(f"| {name} | {median(rest):.0f} | {max(rest):.0f} | {first:.0f} |")
    slow = [name for name, (_, *rest) in taken.items() if median(rest) > GOAL_MS]
    print(f"\n{len(taken) - len(slow)} of {len(taken)} pages within {GOAL_MS} ms." + "".join(f" Not: {name}." for name in slow))
    return len(slow)


def main() -> int:
    parser = arguments(argparse.ArgumentParser(prog="python -m bench.console", description=str(__doc__).splitlines()[0]))
    parser.add_argument("--url", help="an existing PostgreSQL (default: start one)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds, at least 2")
    chosen = parser.parse_args()
    target: Any
    with nullcontext(chosen.url) if chosen.url else own_postgres() as url, opened(url) as target:
        target.answer_seconds = 0  # no limit
        bind_database(target)
        migrate(target)
        prepare(chosen)
        with TemporaryDirectory(prefix="yout-bench-") as folder:
            return 1 if report(max(2, chosen.rounds), folder) else 0


if __name__ == "__main__":
    sys.exit(main())
