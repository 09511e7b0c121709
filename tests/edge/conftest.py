"""The shared stack of the edge tests, and each test's sandbox on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.edge.ledger_fixture import LedgerDatabase, new_ledger_database
from tests.edge.shared_edge import Sandbox, Stack
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer

OpenBooks = Callable[[str], AbstractContextManager[LedgerDatabase]]
_STACK = pytest.StashKey[Stack]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the shared edges' output when a test fails."""
    report = yield
    stack = item.config.stash.get(_STACK, None)
    if report.failed and stack is not None:
        report.sections.append(("output of the shared edges", stack.logs()[-5_000:]))
    return report


@pytest.fixture(scope="session")
def stack(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    migrated_sqlite: Path,
    redis_servers: Callable[[str], RedisServer],
) -> Iterator[Stack]:
    """The shared processes. Other tests may empty their Redis; that does no harm."""
    folder = tmp_path_factory.mktemp("stack")
    shutil.copy(migrated_sqlite, folder / "yout.db")
    made = Stack(folder, f"sqlite:///{folder / 'yout.db'}", redis_servers("valkey").url)
    pytestconfig.stash[_STACK] = made
    yield made
    made.close()


@pytest.fixture(scope="session")
def open_ledger_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenBooks:
    """`with open_ledger_database("sqlite") as opened`: a bound database for a package of tests. Also accepts "postgresql"."""

    def start(kind: str) -> AbstractContextManager[LedgerDatabase]:
        source: Path | Postgres = request.getfixturevalue("postgres" if kind == "postgresql" else "migrated_sqlite")
        return new_ledger_database(tmp_path_factory.mktemp("ledger"), source)

    return start


@pytest.fixture
def sandbox(stack: Stack) -> Iterator[Sandbox]:
    """A sandbox for this test only; the stack's database is bound."""
    with stack.bound():
        yield stack.new_sandbox()
        stack.close_sandboxes()


@pytest.fixture
def short_timeout_sandbox(stack: Stack, sandbox: Sandbox) -> Sandbox:
    """A sandbox on an edge that waits only one second for an upstream."""
    sandbox.edge = stack.edge(upstream_connect_seconds=1, upstream_first_byte_seconds=1, upstream_idle_seconds=1)
    return sandbox
