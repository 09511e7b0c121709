"""Yout as deployed: `python -m edge` with everything it does for a call, on SQLite or PostgreSQL, with a Valkey."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired

from bench.gateway.targets import Books, Gateway, Place, Target, launch
from bench.load import MODEL
from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.core.schema_version import migrate
from shared.ledger.verify import verify_ledger
from shared.models import LedgerEntry
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.catalog import ModelDetails, create_model
from shared.operations.channels import create_channel
from shared.operations.keys import create_key
from shared.operations.prices import Rates
from tests.databases import opened
from tests.servers.process import ROOT, Process, free_port

ORIGIN = Origin("bench")
SECRET_KEY = "benchmark-secret-key-of-more-than-32-characters"
CREDITS = 10**15  # more than any run can spend
NO_LIMIT = str(10**9)  # limits are checked for each call, but never reached


class Yout(Target):
    """The edge, with a fresh database per start. `new_database` returns the URL of an empty one; `database` is its server."""

    def __init__(
        self, name: str, place: Place, redis_url: str, new_database: Callable[[], str], database: Process | None = None
    ) -> None:
        self.name = name
        self._place, self._redis_url = place, redis_url
        self._new_database, self._database = new_database, database
        self._url = ""
        self._problems: list[str] = []

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        self._url, self._problems = self._new_database(), []
        key = _furnish(self._url, f"http://{self._place.upstream}/v1")
        port = free_port()
        gateway = launch(self.name, [sys.executable, "-m", "edge"], port, self._place, key, self._environment(port))
        try:
            yield gateway._replace(database=self._database)
        finally:
            self._stop(gateway)

    def _environment(self, port: int) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "SECRET_KEY": SECRET_KEY,
            "YOUT_ENV": "production",
            "YOUT_ALLOW_SQLITE": "true",
            "YOUT_PUBLIC_URL": "https://bench.example",
            "YOUT_DATA_DIR": str(self._place.folder),
            "YOUT_EDGE_PORT": str(port),
            "YOUT_DEFAULT_RPM": NO_LIMIT,
            "YOUT_DEFAULT_TPM": NO_LIMIT + "000",
            "DATABASE_URL": self._url,
            "REDIS_URL": self._redis_url,
        }

    def _stop(self, gateway: Gateway) -> None:
        """Send SIGTERM, as an operator would: calls in progress must be settled before the exit."""
        assert gateway.process is not None
        try:
            code = gateway.process.terminate()
        except TimeoutExpired:
            self._problems.append("the edge did not stop after SIGTERM and was killed")
        else:
            if code:
                self._problems.append(f"the edge exited with code {code}")

    def books(self) -> Books:
        with opened(self._url) as database:
            bind_database(database)
            report = verify_ledger(now_ms())
            charges = LedgerEntry.select().where(LedgerEntry.kind == "charge").count()
        if report.open_holds:
            self._problems.append(f"{report.open_holds} holds were left open after a clean exit")
        return Books((*self._problems, *report.problems), charges, report.open_holds)


def sqlite_files(folder: Path) -> Callable[[], str]:
    """Yield a new SQLite file as a database URL for each call."""
    made = 0

    def new_file() -> str:
        nonlocal made
        made += 1
        return f"sqlite:///{folder / f'yout-{made}.db'}"

    return new_file


def _furnish(url: str, upstream: str) -> str:
    """Migrate an empty database and insert the rows that a call needs. Returns the key."""
    with opened(url) as database:
        bind_database(database)
        migrate(database)
        account = create_account("bench@example.com", CREDITS, origin=ORIGIN)
        create_channel("mock", "openai", upstream, "sk-upstream", secret_key=SECRET_KEY, origin=ORIGIN)
        create_model(MODEL, "mock", Rates(150, 600, cached_input=75), ModelDetails(max_output_tokens=16_384), origin=ORIGIN)
        return create_key(account.id, "bench", origin=ORIGIN).secret
