"""An edge, a worker and a scripted provider on each kind of database for the media tests, and a new customer per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.edge.conftest import OpenBooks
from tests.edge.media.media_stack import SETTINGS, Customer, Studio, stock
from tests.servers.edge import environment_of, start_edge, start_worker
from tests.servers.redis import RedisServer
from tests.upstream import Upstream


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def opened_studio(
    request: pytest.FixtureRequest, open_books: OpenBooks, redis_servers: Callable[[str], RedisServer]
) -> Iterator[Studio]:
    upstream = Upstream()
    redis = redis_servers("valkey")
    redis.flush()
    with open_books(request.param) as books:
        stock(upstream.url)
        environ = environment_of({"database_url": books.url, "redis_url": redis.url, "data_dir": books.folder, **SETTINGS})
        edge, worker = start_edge(books.folder, environ), start_worker(books.folder, environ)
        yield Studio(edge, worker, upstream, books)
        worker.kill()
        edge.kill()
        upstream.close()


@pytest.fixture
def studio(opened_studio: Studio) -> Iterator[Studio]:
    """Checks after the test that every job has ended, nothing is held, and the ledger verifies."""
    with opened_studio.books.checked():
        yield opened_studio


@pytest.fixture
def customer(studio: Studio) -> Customer:
    return studio.customer()
