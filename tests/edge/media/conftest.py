"""A studio for the tests of media: an edge, a worker and a scripted vendor on each kind of database, a customer a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.clock import now_ms
from shared.database import bind, database
from shared.ledger.audit import verify
from shared.models import Account, MediaJob
from tests.databases import opened
from tests.edge.media.studio import SETTINGS, Customer, Studio, stock
from tests.servers.edge import environment_of, start_edge, start_worker
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Upstream


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def opened_studio(
    request: pytest.FixtureRequest,
    migrated_sqlite: Path,
    redis_servers: Callable[[str], RedisServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    postgres: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    if postgres is not None:
        url = postgres.create_migrated()
    else:
        shutil.copy(migrated_sqlite, folder / "yout.db")
        url = f"sqlite:///{folder / 'yout.db'}"
    upstream = Upstream()
    redis = redis_servers("valkey")
    redis.flush()
    with opened(url) as books:
        bind(books)
        stock(upstream.url)
        environ = environment_of({"database_url": url, "redis_url": redis.url, "data_dir": folder, **SETTINGS})
        edge, worker = start_edge(folder, environ), start_worker(folder, environ)
        yield Studio(edge, worker, upstream, books, folder)
        worker.kill()
        edge.kill()
        upstream.close()
        database.initialize(None)
    if postgres is not None:
        postgres.drop(url)


@pytest.fixture
def studio(opened_studio: Studio) -> Iterator[Studio]:
    """The studio as a test finds it; after the test every job has ended, nothing is held, and the books agree."""
    bind(opened_studio.books)
    yield opened_studio
    eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "every job ends")
    assert not Account.select().where(Account.held > 0).exists()
    assert verify(now_ms()).problems == ()
    database.initialize(None)


@pytest.fixture
def customer(studio: Studio) -> Customer:
    return studio.customer()
