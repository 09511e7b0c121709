"""One edge on each kind of database for the tests of the administration API, and a new admin key per client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shared.identity.admin_scopes import ALL
from shared.models import AdminKey
from shared.operations.admin_keys import create_admin_key
from tests.edge.conftest import OpenBooks
from tests.edge.ledger_fixture import LedgerDatabase
from tests.edge.shared_edge import Reply, read
from tests.factories import ORIGIN
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.redis import RedisServer
from tests.upstream_responses import WAIT_SECONDS

_numbers = count(1)


class AdminStack:
    """A running edge, whose logs are in `folder`."""

    def __init__(self, edge: WebProcess, folder: Path | None = None) -> None:
        self.edge, self._folder = edge, folder

    def client(self, *scopes: str, **options: Any) -> AdminClient:
        """A client with a new admin key, with every scope by default."""
        created = create_admin_key(f"key-{next(_numbers)}", scopes or (ALL,), **options, origin=ORIGIN)
        return AdminClient(self, created.secret, created.row)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """Send `body` (as JSON unless it is bytes); read the whole response."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS * 2)) as connection:
            connection.request(method, path, data, headers or {})
            return read(connection.getresponse())

    def logs(self) -> str:
        """Everything that the edge has printed."""
        assert self._folder is not None
        return "".join(path.read_text(errors="replace") for path in self._folder.glob("edge-*.log"))


class AdminClient:
    """A program with an admin key. Paths are relative to `/api/admin`."""

    def __init__(self, stack: AdminStack, secret: str, key: AdminKey) -> None:
        self.stack, self.secret, self.key = stack, secret, key

    @property
    def actor(self) -> str:
        return f"admin-key:{self.key.name} {self.key.id}"

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        sent = {"authorization": f"Bearer {self.secret}", **(headers or {})}
        return self.stack.request(method, f"/api/admin{path}", body, sent)

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, body: object = None, *, idempotency_key: str | None = None) -> Reply:
        headers = {"idempotency-key": idempotency_key} if idempotency_key is not None else {}
        return self.request("POST", path, body, headers)

    def patch(self, path: str, body: object) -> Reply:
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Reply:
        return self.request("DELETE", path)


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def running_admin(
    request: pytest.FixtureRequest, open_ledger_database: OpenBooks, redis_servers: Callable[[str], RedisServer]
) -> Iterator[tuple[AdminStack, LedgerDatabase]]:
    with open_ledger_database(request.param) as ledger_database:
        environ = environment_of(
            {"database_url": ledger_database.url, "redis_url": redis_servers("valkey").url, "data_dir": ledger_database.folder}
            | {"refused_keys_rpm": 10**6}  # the tests of all routes send wrong keys
        )
        edge = start_edge(ledger_database.folder, environ)
        yield AdminStack(edge, ledger_database.folder), ledger_database
        edge.kill()


@pytest.fixture
def stack(running_admin: tuple[AdminStack, LedgerDatabase]) -> Iterator[AdminStack]:
    """Checks after the test that the ledger verifies."""
    running, ledger_database = running_admin
    with ledger_database.verified():
        yield running


@pytest.fixture
def admin(stack: AdminStack) -> AdminClient:
    """A client that may do everything."""
    return stack.client()
