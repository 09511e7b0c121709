"""An edge, a worker and a scripted provider on each kind of database for the media tests, and a new customer per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.edge.conftest import OpenBooks
from tests.edge.media.media_stack import SETTINGS, Customer, MediaStack, create_models
from tests.servers.edge import environment_of, start_edge, start_worker
from tests.servers.redis import RedisServer
from tests.upstream import Upstream


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def running_media_stack(
    request: pytest.FixtureRequest, open_ledger_database: OpenBooks, redis_servers: Callable[[str], RedisServer]
) -> Iterator[MediaStack]:
    upstream = Upstream()
    redis = redis_servers("valkey")
    redis.flush()
    with open_ledger_database(request.param) as ledger_database:
        create_models(upstream.url)
        environ = environment_of(
            {"database_url": ledger_database.url, "redis_url": redis.url, "data_dir": ledger_database.folder, **SETTINGS}
        )
        edge, worker = start_edge(ledger_database.folder, environ), start_worker(ledger_database.folder, environ)
        yield MediaStack(edge, worker, upstream, ledger_database)
        worker.kill()
        edge.kill()
        upstream.close()


@pytest.fixture
def media_stack(running_media_stack: MediaStack) -> Iterator[MediaStack]:
    """Checks after the test that every job has ended, nothing is held, and the ledger verifies."""
    with running_media_stack.ledger_database.verified():
        yield running_media_stack


@pytest.fixture
def customer(media_stack: MediaStack) -> Customer:
    return media_stack.customer()
