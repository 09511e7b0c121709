"""One edge, one database and one scripted upstream shared by many tests; each test gets its own `Sandbox` on them.

A sandbox is an account with a key, models that no other test calls, and the scripted provider behind them. Tests share the
processes, but no credits, circuit breakers or scripts.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from shared.core.database import bind_database, database, transaction
from shared.models import Account, UsageLedger
from shared.operations.accounts import create_account
from tests import factories
from tests.databases import opened
from tests.factories import ORIGIN
from tests.openai_payloads import Json
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.upstream import Request, Script, Upstream, default_script
from tests.upstream_responses import WAIT_SECONDS, ScriptedResponse

MAX_SANDBOXES = 1_000  # more than all tests need: one of two test processes may run most of them
CREDITS = 1_000_000
PRICES = {"input": 1_000, "output": 2_000, "minimum": 10}  # one credit per input token, two per output token
DEFAULT_COST = 13  # for the 7 and 3 tokens that the default upstream response reports
COST_PRICES = 500, 1_000  # what the models cost the operator
DEFAULT_PROVIDER_COST = 7


class ScriptedProvider:
    """One channel's share of the scripted upstream, identified by its path."""

    def __init__(self, upstream: Upstream, name: str) -> None:
        self.url = f"{upstream.url}/{name}"
        self.port = upstream.port
        self.default: Script = default_script
        self._upstream = upstream
        self._path = f"/v1/{name}/chat/completions"
        self._script: deque[Script] = deque()

    @property
    def calls(self) -> list[Request]:
        """The POST requests to this channel."""
        return [call for call in self._upstream.calls if call.path == self._path]

    def script(self, *answers: Script) -> None:
        """Like `Upstream.script`, but only for this channel."""
        self._script.extend(answers)

    def answer(self, request: Request) -> ScriptedResponse:
        chosen = self._script.popleft() if self._script else self.default
        return chosen if isinstance(chosen, ScriptedResponse) else chosen(request)


class Reply(NamedTuple):
    """A complete HTTP response. Header names are lower-case; `cut` means that the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Json:
        error: Json = self.json["error"]
        return error

    @property
    def lines(self) -> list[str]:
        """The non-empty lines of a stream."""
        return [line for line in self.body.decode().split("\n") if line]

    @property
    def chunks(self) -> list[Json]:
        """The JSON of every `data:` line except `[DONE]`."""
        return [json.loads(line[6:]) for line in self.lines if line.startswith("data: ") and line != "data: [DONE]"]

    @property
    def text(self) -> str:
        """The concatenated content of all chunks."""
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


def read(response: http.client.HTTPResponse) -> Reply:
    """Read a whole response, even if the connection is cut."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    try:
        return Reply(response.status, headers, response.read())
    except http.client.IncompleteRead as error:
        return Reply(response.status, headers, error.partial, cut=True)


class Sandbox:
    """What a test may use: `model` on the channel `acme`, and `pair` on `acme` with fallback to `second`."""

    def __init__(self, stack: Stack, number: int, account: Account, secret: str) -> None:
        self.model, self.pair = f"solo-{number}", f"duo-{number}"
        self.provider, self.second = stack.providers[f"a{number}"], stack.providers[f"b{number}"]
        self.account, self.secret, self.redis_url = account, secret, stack.redis_url
        self._open: list[OpenStream] = []
        self.edge = stack.edge()

    @property
    def api(self) -> str:
        """The base URL for an SDK."""
        return f"{self.edge.url}/v1"

    def body(self, **fields: Any) -> Json:
        """A small chat request body."""
        return {"model": self.model, "messages": [{"role": "user", "content": "Hi"}], **fields}

    def chat(self, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
        """Call the edge with `body(**fields)` and read the whole response."""
        return self.post(json.dumps(self.body(**fields)).encode(), headers)

    def post(self, data: bytes, headers: dict[str, str] | None = None, path: str = "/v1/chat/completions") -> Reply:
        """POST any bytes, with the sandbox's key unless `headers` override it."""
        return self.request("POST", path, data, headers)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.request("GET", path, None, headers)

    def request(self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS * 2)) as connection:
            sent = {"authorization": f"Bearer {self.secret}", **(headers or {})}
            connection.request(method, path, data, sent)
            return read(connection.getresponse())

    def open(self, **fields: Any) -> OpenStream:
        """Start a stream that the test reads piece by piece."""
        data = json.dumps(self.body(**{"stream": True, **fields})).encode()
        self._open.append(OpenStream(self.edge.port, self.secret, data))
        return self._open[-1]

    def close(self) -> None:
        """Close every stream that the test left open."""
        for stream in self._open:
            stream.disconnect()

    def usage(self) -> list[UsageLedger]:
        """The account's usage rows, oldest first."""
        return list(UsageLedger.select().where(UsageLedger.account == self.account).order_by(UsageLedger.id))

    @property
    def charged(self) -> int:
        """Credits charged to the account so far."""
        return CREDITS - int(self._account().balance)

    @property
    def held(self) -> int:
        return int(self._account().held)

    def _account(self) -> Account:
        found: Account = Account.get_by_id(self.account.id)
        return found


class OpenStream:
    """A stream that the test reads incrementally and can disconnect from."""

    def __init__(
        self, port: int, secret: str, data: bytes, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None
    ) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n{more}\r\n"
        )
        self._socket.sendall(head.encode() + data)
        self.received = b""

    def read_until(self, text: bytes) -> None:
        """Return once `text` has been received."""
        while text not in self.received:
            data = self._socket.recv(65_536)
            assert data, f"the stream ended before {text!r}: {self.received!r}"
            self.received += data

    def disconnect(self) -> None:
        self._socket.close()


class Stack:
    """Created once per test process; `close` stops it."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.folder, self.database_url, self.redis_url = folder, database_url, redis_url
        self.upstream = Upstream()
        self.providers: dict[str, ScriptedProvider] = {}
        self._edges: dict[str, WebProcess] = {}
        self._lanes: list[Sandbox] = []
        self._numbers = iter(range(MAX_SANDBOXES))
        self.upstream.default = lambda request: self.providers[request.path.split("/")[2]].answer(request)
        with self.bound(), transaction():
            for number in range(MAX_SANDBOXES):
                self._build(number)

    def bound(self) -> Any:
        """A context manager that binds all models to the stack's database."""
        return _Bound(self.database_url)

    def edge(self, **settings: Any) -> WebProcess:
        """An edge with these settings, started on first use."""
        key = repr(sorted(settings.items()))
        if key not in self._edges:
            values = {"database_url": self.database_url, "redis_url": self.redis_url, "data_dir": self.folder, **settings}
            self._edges[key] = start_edge(self.folder, environment_of(values))
        return self._edges[key]

    def new_sandbox(self, **key_options: Any) -> Sandbox:
        """The next unused sandbox, with a new account. The database must be bound."""
        number = next(self._numbers)
        owner = create_account(f"sandbox-{number}@example.com", CREDITS, origin=ORIGIN)
        self._lanes.append(Sandbox(self, number, owner, factories.api_key(owner, **key_options)[1]))
        return self._lanes[-1]

    def close_sandboxes(self) -> None:
        """Called after each test."""
        for sandbox in self._lanes:
            sandbox.close()
        self._lanes.clear()

    def logs(self) -> str:
        """Everything that the edges have printed."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("edge-*.log"))

    def close(self) -> None:
        for edge in self._edges.values():
            edge.kill()
        self.upstream.close()

    def _build(self, number: int) -> None:
        first, second = (
            self.providers.setdefault(name, ScriptedProvider(self.upstream, name)) for name in (f"a{number}", f"b{number}")
        )
        channels = [factories.channel(provider.url, secret=f"sk-acme-{number}-secret") for provider in (first, second)]
        factories.model(f"solo-{number}", channels[0], costs=COST_PRICES, **PRICES)
        factories.model(f"duo-{number}", *channels, costs=COST_PRICES, **PRICES)


class _Bound:
    def __init__(self, url: str) -> None:
        self._opened = opened(url)

    def __enter__(self) -> None:
        bind_database(self._opened.__enter__())

    def __exit__(self, *problem: Any) -> None:
        self._opened.__exit__(*problem)
        database.initialize(None)
