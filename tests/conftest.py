"""Fixtures: real servers, started on first use, and processes whose output is shown when a test fails."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import peewee
import pytest
from playwright.async_api import Page

from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.core.settings import Settings
from tests.databases import opened
from tests.memory_folder import use_memory
from tests.servers.browser import chromium, chromium_path, open_page
from tests.servers.edge import SECRET_KEY, WebProcess, environment_of, start_console, start_edge, start_worker
from tests.servers.network import Network, missing_programs
from tests.servers.node import NodeSdk, install_node_sdk
from tests.servers.pgbouncer import PgBouncer, pgbouncer_path
from tests.servers.postgres import Postgres
from tests.servers.process import Process
from tests.servers.prometheus import Prometheus, prometheus_path
from tests.servers.rabbitmq import RabbitServer, missing_rabbitmq
from tests.servers.redis import KINDS, RedisServer, binary
from tests.servers.redis_cluster import RedisCluster
from tests.servers.reverse_proxy import ReverseProxy, missing_proxies
from tests.servers.s3 import S3Server
from tests.servers.sdks import PythonSdks, install_python_sdks
from tests.servers.shards import Citus, Cluster, ForeignShards
from tests.servers.small_disk import SmallDisk, missing_disk
from tests.servers.stripe import StripeServer
from tests.upstream import Upstream

# Generating examples can be slow on a busy machine; that must not fail a test.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
PRODUCTION = {"database_url": "postgresql://db/yout", "redis_url": "redis://cache/0", "public_url": "https://yout.example"}
use_memory()  # before anything asks for a temporary folder
_PROCESSES = pytest.StashKey[list[Process]]()
# A test is `quick` if it is in none of these folders and uses none of these fixtures: no server, process, browser or database.
_SLOW_FOLDERS = {"embedded", "servers", "yout"}
_SLOW_FIXTURES = {
    *("any_database_url", "empty_database_url", "migrated_sqlite", "postgres"),
    *(
        "redis_servers",
        "redis_cluster",
        "own_redis",
        "rabbitmq_server",
        "cluster",
        "s3_server",
        "start_upstream",
        "processes",
        "open_page",
        "start_pgbouncer",
        "start_prometheus",
        "network",
    ),
    *("node_sdk", "python_sdks", "open_ledger_database", "stack", "running_api", "running_site", "running_media_stack"),
    *("client", "start", "start_fast"),
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without garbage collections, which would traverse the growing heap again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()  # what was collected stays until the end
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        folders = item.path.relative_to(item.config.rootpath).parts  # the checkout may be in a folder of the same name
        is_slow = not _SLOW_FOLDERS.isdisjoint(folders) or not _SLOW_FIXTURES.isdisjoint(fixtures)
        if not is_slow and not item.get_closest_marker("slow"):
            item.add_marker("quick")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the output of a failed test's processes."""
    report = yield
    if report.failed:
        for process in item.stash.get(_PROCESSES, []):
            report.sections.append((f"output of {process.name} (pid {process.pid})", process.output()))
    return report


# Settings


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """`make_settings(edge_port=1234, …)`: checked settings that ignore the environment, with a data folder for this test only."""

    def make(**overrides: Any) -> Settings:
        needed = PRODUCTION if overrides.get("environment") == "production" else {}
        values = {"data_dir": tmp_path / "var", "secret_key": SECRET_KEY, **needed, **overrides}
        return Settings.load(environment_of(values), dotenv=None)

    return make


# Databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of this test process."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    with opened(f"sqlite:///{path}") as template:
        migrate(template)
    return path


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database for this test only, at the current schema."""
    url = postgres.create_migrated()
    yield url
    postgres.drop(url)


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A SQLite file for this test only, at the current schema."""
    path = tmp_path / "yout.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """Runs the test on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; runs the test on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.create_empty()
    yield url
    postgres.drop(url)


@pytest.fixture
def bound_database(any_database_url: str) -> Iterator[peewee.Database]:
    """`any_database_url`, opened and bound to all models."""
    yield from _bound(any_database_url)


@pytest.fixture
def bound_postgres(postgres_url: str) -> Iterator[peewee.Database]:
    """`postgres_url`, opened and bound to all models."""
    yield from _bound(postgres_url)


def _bound(url: str) -> Iterator[peewee.Database]:
    with opened(url) as target:
        bind_database(target)
        yield target
        database.initialize(None)


def _require(missing: Sequence[str]) -> None:
    """Skip the test if something is missing on this machine; fail in CI."""
    if missing:
        reason = f"{', '.join(missing)}: not on this machine"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must test with it")
        pytest.skip(reason)


@pytest.fixture
def start_pgbouncer(postgres: Postgres) -> Iterator[Callable[..., PgBouncer]]:
    """`start_pgbouncer(pool_size=5, network=…)`: a PgBouncer in transaction mode in front of `postgres`."""
    _require([] if pgbouncer_path() else ["pgbouncer"])
    running: list[PgBouncer] = []

    def start(**options: Any) -> PgBouncer:
        running.append(PgBouncer(postgres, **options))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def start_prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """`start_prometheus({"yout-edge": 8000, …})`: a Prometheus that scrapes these ports every second."""
    _require([] if prometheus_path() else ["prometheus"])
    running: list[Prometheus] = []

    def start(ports: dict[str, int]) -> Prometheus:
        running.append(Prometheus(tmp_path, ports))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def start_proxy(processes: list[Process], tmp_path: Path) -> Callable[[str, Sequence[int], Path], ReverseProxy]:
    """`start_proxy("nginx", [port, port], certificate)`: Debian's nginx or haproxy with our configuration, before edges."""
    _require(missing_proxies())

    def start(name: str, edges: Sequence[int], certificate: Path) -> ReverseProxy:
        proxy = ReverseProxy(name, tmp_path, edges, certificate)
        processes.append(proxy.process)
        return proxy

    return start


@pytest.fixture
def network() -> Iterator[Network]:
    """A network namespace for a server, in which the test can drop packets."""
    _require(missing_programs())
    made = Network()
    yield made
    made.close()


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """A file system of 2 GiB that the test may resize and fill; it takes only the memory of its files."""
    _require(missing_disk())
    made = SmallDisk("2g")
    yield made
    made.close()


_CLUSTERS = {"foreign": ForeignShards, "citus": Citus}


@pytest.fixture(scope="session", params=_CLUSTERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """PostgreSQL on three servers; runs the test on both kinds. Skipped if one is not installed, also in CI: see docs/testing.md.

    A test that crashes a node must restart it.
    """
    kind = _CLUSTERS[request.param]
    if kind.binaries() is None:
        pytest.skip(f"{kind.__name__} is not installed")
    made = kind(tmp_path_factory.mktemp(request.param))
    yield made
    made.stop()


@pytest.fixture
def cluster_url(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A distributed database for this test only, at the current schema."""
    assert request.node.get_closest_marker("cluster"), "the default run does not include clusters"
    return cluster.create_distributed()


# Redis


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RedisServer]]:
    """The shared Redis servers of this test process by kind, each started on first use."""
    running: dict[str, RedisServer] = {}

    def get(kind: str) -> RedisServer:
        if kind not in running:
            running[kind] = RedisServer(kind, tmp_path_factory.mktemp(kind))
        return running[kind]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture
def redis_url(redis_servers: Callable[[str], RedisServer]) -> str:
    """An empty Valkey, or an empty server of the kind named by YOUT_TEST_REDIS (`valkey`, `redis-server`)."""
    server = redis_servers(os.environ.get("YOUT_TEST_REDIS", "valkey"))
    server.flush()
    return server.url


@pytest.fixture(params=KINDS)
def any_redis_url(request: pytest.FixtureRequest, redis_servers: Callable[[str], RedisServer]) -> str:
    """Runs the test on Valkey and on redis-server, both empty. Skipped if redis-server is not installed, except in CI.

    The parameter `cluster` is a Redis Cluster.
    """
    if request.param == "cluster":
        return str(request.getfixturevalue("redis_cluster").url)
    if binary(request.param) is None:
        missing = f"{request.param} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and CI must test on it")
        pytest.skip(missing)
    server = redis_servers(request.param)
    server.flush()
    return server.url


@pytest.fixture(scope="session")
def _running_redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("redis-cluster"))
    yield cluster
    cluster.kill()


@pytest.fixture
def redis_cluster(_running_redis_cluster: RedisCluster) -> RedisCluster:
    """An empty Redis Cluster of three nodes. A test that kills a node must restart it; slots may have moved."""
    _running_redis_cluster.flush()
    return _running_redis_cluster


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey server that the test may kill, freeze and restart."""
    server = RedisServer("valkey", tmp_path)
    yield server
    server.kill()


# RabbitMQ


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """The RabbitMQ server of this test process. Skipped if it is not installed, also in CI: see docs/testing.md."""
    if missing := missing_rabbitmq():
        pytest.skip(missing)
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture
def rabbitmq(rabbitmq_server: RabbitServer, request: pytest.FixtureRequest) -> RabbitServer:
    """A RabbitMQ server without queues, which the test may kill or freeze if it restarts or thaws it."""
    assert request.node.get_closest_marker("rabbitmq"), "the default run does not include RabbitMQ"
    rabbitmq_server.delete_queues()
    return rabbitmq_server


# Storage


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The S3-compatible server of this test process."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(params=["disk", "s3"])
def media_settings(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Settings:
    """Settings with an empty media store; runs the test on a folder and on a bucket of a real S3-compatible server."""
    if request.param == "disk":
        return make_settings()
    server: S3Server = request.getfixturevalue("s3_server")
    return make_settings(**server.settings_of_new_bucket())


# Payments


@pytest.fixture(scope="session")
def stripe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeServer]:
    """The fake of Stripe of this test process."""
    server = StripeServer(tmp_path_factory.mktemp("stripe"))
    yield server
    server.stop()


@pytest.fixture
def stripe(stripe_server: StripeServer) -> StripeServer:
    """A fake of Stripe's API without events."""
    stripe_server.events.clear()
    stripe_server.is_down = False
    return stripe_server


# Upstreams and processes


@pytest.fixture
def start_upstream() -> Iterator[Callable[[], Upstream]]:
    """`start_upstream()` starts a scripted upstream; each call starts another one."""
    running: list[Upstream] = []

    def start() -> Upstream:
        running.append(Upstream())
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def upstream(start_upstream: Callable[[], Upstream]) -> Upstream:
    """A scripted upstream."""
    return start_upstream()


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> Iterator[list[Process]]:
    """Processes in this list are stopped after the test, and their output is shown if it fails."""
    started: list[Process] = []
    request.node.stash[_PROCESSES] = started
    yield started
    for process in started:
        process.kill()


StartWeb = Callable[..., WebProcess]


@pytest.fixture(name="start_edge")
def _start_edge(processes: list[Process], tmp_path: Path) -> StartWeb:
    """`start_edge(database_url=…, redis_url=…, drain_seconds=5, …)`: a real edge; keyword arguments are fields of `Settings`."""

    def start(**settings: Any) -> WebProcess:
        edge = start_edge(tmp_path, environment_of(settings))
        processes.append(edge.process)
        return edge

    return start


@pytest.fixture(name="start_console")
def _start_console(processes: list[Process], tmp_path: Path) -> StartWeb:
    """`start_console(database_url=…, …)`: a real staff console."""

    def start(**settings: Any) -> WebProcess:
        console = start_console(tmp_path, environment_of(settings))
        processes.append(console.process)
        return console

    return start


@pytest.fixture(name="start_worker")
def _start_worker(processes: list[Process], tmp_path: Path) -> Callable[..., Process]:
    """`start_worker(database_url=…, redis_url=…, …)`: a real worker."""

    def start(**settings: Any) -> Process:
        worker = start_worker(tmp_path, environment_of(settings))
        processes.append(worker)
        return worker

    return start


@pytest.fixture(scope="session")
def axe(node_sdk: NodeSdk) -> str:
    """The source of axe, which checks pages for accessibility."""
    return (node_sdk.folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def node_sdk() -> NodeSdk:
    """The official Node SDK, installed once per lock file."""
    return install_node_sdk()


@pytest.fixture(scope="session")
def python_sdks() -> PythonSdks:
    """Python libraries that need an older openai package than ours, installed once per lock file."""
    return install_python_sdks()


# Browsers


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(name="open_page")
async def _open_page() -> AsyncIterator[OpenPage]:
    """`await open_page(viewport=PHONE, scheme="dark")`: a page in a signed-out Chromium. Errors on the page fail the test.

    Without Chromium the test is skipped, except in CI. A test that provokes an error must clear `page.problems` afterwards.
    """
    if chromium_path() is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed, and CI must test in it")
        pytest.skip("Chromium is not installed")
    problems: list[str] = []
    async with chromium() as browser:

        async def make(**options: Any) -> Page:
            page = await open_page(browser, problems, **options)
            page.problems = problems  # type: ignore[attr-defined]  # a note on somebody else's object
            return page

        yield make
    assert problems == []
