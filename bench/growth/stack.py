"""What is measured: edges on one database with many accounts, in front of the mock upstream."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.gateway.machine import cpu_seconds
from bench.gateway.targets import inherited
from shared.core.billing_periods import month_of
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.identity.api_key_format import new_key
from shared.ledger.verify import verify_ledger
from shared.ledger.witness import NO_HEAD, entry_details, witness_entry
from shared.models import Account, ApiKey, LedgerEntry, Member, Person
from shared.operations.audit import Origin
from shared.operations.catalog import ModelDetails, create_model
from shared.operations.channels import create_channel
from shared.operations.prices import Rates
from tests.databases import opened
from tests.servers.process import ROOT, Process, dies_with_parent, start_on_free_port

ORIGIN = Origin("bench")
SECRET_KEY = "benchmark-secret-key-of-more-than-32-characters"
CREDITS = 10**13  # of an account, more than any run can spend
NO_LIMIT = str(10**9)  # limits are checked for each call, but never reached
UPSTREAMS = ("openai", "responses", "anthropic", "gemini")  # dialects
CHUNKS = (64, 1_000)


class Edge(NamedTuple):
    """A running edge of a checkout, which `name` describes."""

    name: str
    port: int
    process: Process

    def cpu_seconds(self) -> float:
        """Return the user and system time so far."""
        return cpu_seconds(self.process.pid)


def model(dialect: str, chunks: int = CHUNKS[0]) -> str:
    """Return the id of the model on an upstream of this dialect, whose answers have this many words."""
    return f"{dialect}-{chunks}"


def furnish(url: str, accounts: int, upstream_port: int) -> list[str]:
    """Migrate an empty database and insert accounts with a key each, and the models. Returns the keys."""
    with opened(url) as target:
        bind_database(target)
        migrate(target)
        for dialect in UPSTREAMS:
            for chunks in CHUNKS:
                name, base = model(dialect, chunks), f"http://127.0.0.1:{upstream_port}/{chunks}"
                create_channel(name, dialect, base, "sk-upstream", secret_key=SECRET_KEY, origin=ORIGIN)
                create_model(name, name, Rates(150, 600, cached_input=75), ModelDetails(max_output_tokens=16_384), origin=ORIGIN)
        keys = _insert_accounts(accounts)
        database.execute_sql("ANALYZE")
    return keys


def _insert_accounts(count: int) -> list[str]:
    """Insert accounts with their owner, a grant and a key. Returns the keys."""
    keys = [new_key() for _ in range(count)]
    now = now_ms()
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (Account, Person, Member, ApiKey, LedgerEntry)}
    for number, key in enumerate(keys):
        id, email = new_id(), f"customer-{number}@example.com"
        details = entry_details("bench", "", None, None)
        witness = witness_entry(NO_HEAD, id, 1, "grant", (CREDITS, CREDITS, 0), now, details)
        rows[Account].append(
            {"id": id, "email": email, "balance": CREDITS, "ledger_seq": 1, "ledger_head": witness.entry_hash, "created_at": now}
        )
        rows[Person].append({"id": id, "email": email})
        rows[Member].append({"id": id, "account": id, "person": id, "role": "owner"})
        rows[ApiKey].append({"id": new_id(), "account": id, "name": "bench", "digest": key.digest, "prefix": key.prefix})
        entry = {"account": id, "seq": 1, "kind": "grant", "amount": CREDITS, "balance_after": CREDITS, "actor": "bench"}
        rows[LedgerEntry].append({**entry, "created_at": now, "month": month_of(now), **witness._asdict()})
    with database.atomic():
        for table, made in rows.items():
            _insert(table, made)
    return [key.secret for key in keys]


def _insert(table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with equal columns. Building one statement takes Peewee longer than the database needs for all rows."""
    defaults = table().__data__
    fields = [field for field in table._meta.sorted_fields if field.name in {**defaults, **rows[0]}]
    names, places = ", ".join(field.column_name for field in fields), ", ".join([database.param] * len(fields))
    values = [[field.db_value({**defaults, **row}[field.name]) for field in fields] for row in rows]
    cursor = database.connection().cursor()
    cursor.executemany(f"INSERT INTO {table._meta.table_name} ({names}) VALUES ({places})", values)


def start_upstream(folder: Path) -> tuple[Process, int]:
    """Start the mock upstream. Returns its process and port."""

    def start(port: int) -> Process:
        argv = dies_with_parent([sys.executable, "-m", "bench.growth.upstream", str(port)])
        return Process("upstream", argv, env={**inherited(), "PYTHONPATH": str(ROOT)}, cwd=ROOT, log=folder / "upstream.log")

    return start_on_free_port(start, lambda _process, port: _listens(port))


@contextmanager
def started_edges(
    checkouts: Sequence[tuple[str, Path]], url: str, redis_url: str, folder: Path, core: int
) -> Iterator[list[Edge]]:
    """Run an edge of each checkout on one database, all on one core. They get SIGTERM at the end.

    Raises `SystemExit` if one does not stop by itself with exit code 0.
    """
    edges: list[Edge] = []
    try:
        for number, (name, checkout) in enumerate(checkouts):
            edges.append(_start_edge(name, checkout, url, redis_url, folder / f"edge-{number}", core))
        yield edges
        for edge in edges:
            if code := edge.process.terminate():
                raise SystemExit(f"the edge exited with code {code}:\n{edge.process.output()}")
    finally:
        for edge in edges:
            edge.process.kill()


def _start_edge(name: str, checkout: Path, url: str, redis_url: str, folder: Path, core: int) -> Edge:
    folder.mkdir(exist_ok=True)

    def start(port: int) -> Process:
        settings = {
            "PYTHONPATH": str(checkout),
            "SECRET_KEY": SECRET_KEY,
            "YOUT_ENV": "production",
            "YOUT_ALLOW_SQLITE": "true",
            "YOUT_PUBLIC_URL": "https://bench.example",
            "YOUT_DATA_DIR": str(folder),
            "YOUT_EDGE_PORT": str(port),
            "YOUT_DEFAULT_RPM": NO_LIMIT,
            "YOUT_DEFAULT_TPM": NO_LIMIT + "000",
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
        }
        argv = ["taskset", "-c", str(core), str(checkout / ".venv" / "bin" / "python"), "-m", "edge"]
        return Process("edge", dies_with_parent(argv), env={**inherited(), **settings}, cwd=folder, log=folder / "edge.log")

    process, port = start_on_free_port(start, lambda _process, port: _is_ready(port))
    return Edge(name, port, process)


def book_problems(url: str, good: int) -> list[str]:
    """Verify the ledger after the edges have stopped. Returns what is wrong with it, or with its number of charges."""
    with opened(url) as target:
        bind_database(target)
        report = verify_ledger(now_ms())
        charges = LedgerEntry.select().where(LedgerEntry.kind == "charge").count()
    problems = list(report.problems)
    if report.open_holds:
        problems.append(f"{report.open_holds} holds were left open after a clean exit")
    if charges != good:
        problems.append(f"{good} good answers, but {charges} charges")
    return problems


def _listens(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=2).connect()
    except OSError:
        return False
    return True


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
