"""One edge and one scripted provider on each kind of database for the tests of the native API, and a new customer per test."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from shared.models import Account, UsageLedger
from tests import factories
from tests.edge.conftest import OpenBooks
from tests.edge.ledger_fixture import LedgerDatabase
from tests.edge.shared_edge import Reply, read
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import WAIT_SECONDS

CREDITS = 1_000_000


class ApiStack:
    """`m-1` and `m-2` cost one credit per input token and two per output token; `free` costs nothing."""

    def __init__(self, edge: WebProcess, upstream: Upstream, ledger_database: LedgerDatabase) -> None:
        self.edge, self.upstream, self.database = edge, upstream, ledger_database

    def customer(self, credits: int = CREDITS, **key_options: Any) -> Customer:
        """A new account with a key."""
        owner = factories.account(credits)
        return Customer(self, owner, factories.api_key(owner, **key_options)[1])

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """Send `body` (as JSON unless it is bytes) without a key; read the whole response."""
        with closing(self.open(method, path, body, headers)) as connection:
            return read(connection.getresponse())

    def open(self, method: str, path: str, body: object, headers: dict[str, str] | None = None) -> http.client.HTTPConnection:
        """Like `request`, but leave the response body unread."""
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS * 2)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        return connection


class Customer:
    """An account and the key it calls with."""

    def __init__(self, shop: ApiStack, account: Account, secret: str) -> None:
        self.shop, self.account, self.secret = shop, account, secret

    def with_key(self, secret: str) -> Customer:
        """The same account with another key."""
        return Customer(self.shop, self.account, secret)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        return self.shop.request(method, path, body, {"authorization": f"Bearer {self.secret}", **(headers or {})})

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        return self.request("POST", path, body, headers)

    def stream(self, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
        """Stream a prompt to `m-1`, unless `fields` say otherwise; returns the whole stream."""
        return self.post("/api/chat/stream/", stream_body(**fields), headers)

    def open(self, **fields: Any) -> http.client.HTTPConnection:
        """Like `stream`, but leave the response body unread."""
        headers = {"authorization": f"Bearer {self.secret}"}
        return self.shop.open("POST", "/api/chat/stream/", stream_body(**fields), headers)

    @property
    def balance(self) -> int:
        return int(Account.get_by_id(self.account.id).balance)

    def usage(self) -> UsageLedger:
        """Wait for the account's only usage row."""
        rows = UsageLedger.select().where(UsageLedger.account == self.account.id)
        eventually(lambda: rows.clone().count() == 1, "the call is settled")
        found: UsageLedger = rows.get()
        return found


def stream_body(**fields: Any) -> dict[str, Any]:
    return {"model": "m-1", **({} if "messages" in fields else {"prompt": "Hi"}), **fields}


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def running_api(
    request: pytest.FixtureRequest, open_ledger_database: OpenBooks, redis_servers: Callable[[str], RedisServer]
) -> Iterator[ApiStack]:
    upstream = Upstream()
    with open_ledger_database(request.param) as ledger_database:
        channel = factories.channel(upstream.url)
        for model in ("m-1", "m-2"):
            factories.model(model, channel, input=1_000, output=2_000, minimum=10)
        factories.model("free", channel, input=0, output=0, is_free=True, capabilities=["tools"], context_window=8_000)
        environ = environment_of(
            {"database_url": ledger_database.url, "redis_url": redis_servers("valkey").url, "data_dir": ledger_database.folder}
        )
        edge = start_edge(ledger_database.folder, environ)
        yield ApiStack(edge, upstream, ledger_database)
        edge.kill()
        upstream.close()


@pytest.fixture
def api(running_api: ApiStack) -> Iterator[ApiStack]:
    """Checks after the test that the ledger verifies and nothing is held."""
    with running_api.database.verified():
        yield running_api


@pytest.fixture
def customer(api: ApiStack) -> Customer:
    return api.customer()
