"""The checks of `yout doctor` against real servers: each failure says what to do, and no check waits forever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import peewee
import psycopg
import pytest
import redis
from cryptography import x509

from shared.core.billing_periods import DAY_MS
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database, open_database
from shared.core.machine import GIB, DiskSpace, exposed_files
from shared.core.settings import Settings, setting_problems, unknown_variables
from shared.core.tls_certificates import TlsServer, read_expiry, tls_servers
from shared.doctor import NEEDS, CheckFailed, checks_of, run_checks
from shared.doctor import database as database_checks
from shared.doctor.local import check_files
from shared.doctor.servers import _check_eviction, check_mail, check_public_url, check_redis
from shared.ledger.partitions import create_partitions, id_bound, list_partitions
from shared.models import AlertCheck, AuditEntry, PurgeJob, UsageLedger
from tests import factories
from tests.databases import opened
from tests.servers.authority import Authority
from tests.servers.postgres import Postgres
from tests.servers.process import free_port
from tests.servers.redis import RedisServer
from tests.servers.smtp import SmtpServer
from tests.upstream import Upstream

MakeSettings = Callable[..., Settings]


def failure(check: Callable[[], str]) -> str:
    """The advice of a check that fails, on one line."""
    with pytest.raises(CheckFailed) as failed:
        check()
    assert "\n" not in str(failed.value)
    return str(failed.value)


@contextmanager
def results(settings: Settings) -> Iterator[Callable[[], dict[str, str]]]:
    """`failed()` runs all checks on a bound database and returns the advice of those that fail, by name."""
    target: Any = open_database(settings.database_url, statement_timeout_seconds=5)
    bind_database(target)
    try:
        yield lambda: {check.name: check.advice for check in run_checks(checks_of(settings, target), NEEDS) if not check.ok}
    finally:
        database.initialize(None)
        if not target.is_closed():  # this thread's connection
            target.close()
        if hasattr(target, "close_idle"):
            target.close_idle()


# The runner


def test_a_check_that_never_ends_fails_and_the_others_are_reported() -> None:
    never = threading.Event()

    def broken() -> str:
        raise KeyError("x")

    found = run_checks({"hangs": lambda: str(never.wait()), "fine": lambda: "a remark", "broken": broken}, deadline_seconds=0.2)
    never.set()
    assert [(check.name, check.ok) for check in found] == [("hangs", False), ("fine", True), ("broken", False)]
    assert found[0].advice.startswith("No result within 0.2 s")
    assert found[1].advice == "a remark"
    assert "KeyError" in found[2].advice


# Settings and this machine


def test_all_invalid_settings_and_unknown_names_are_listed() -> None:
    environ = {"YOUT_EDGE_PORT": "0", "YOUT_MEDIA_DAYS": "x", "YOUT_PUBIC_URL": "http://x", "YOUT_TEST_REDIS": "valkey"}
    assert [line.split()[0] for line in setting_problems(environ, None)] == ["YOUT_EDGE_PORT", "YOUT_MEDIA_DAYS"]
    [line] = setting_problems({"YOUT_ENV": "production"}, None)
    assert line.startswith("SECRET_KEY must be set")
    assert unknown_variables(environ, None) == ["YOUT_PUBIC_URL is not a setting and has no effect; use YOUT_PUBLIC_URL."]


@pytest.mark.parametrize(
    ("free", "total", "low", "still_low"),
    [
        (0.9 * GIB, 10 * GIB, True, True),
        (1.1 * GIB, 10 * GIB, False, True),  # between the thresholds: neither opens nor closes an alert
        (4 * GIB, 100 * GIB, True, True),
        (30 * GIB, 1000 * GIB, False, False),  # a small share of a large disk is enough
        (50 * GIB, 100 * GIB, False, False),
    ],
)
def test_when_a_disk_is_nearly_full(free: float, total: int, low: bool, still_low: bool) -> None:
    space = DiskSpace(Path("/"), int(free), total)
    assert (space.is_low(), space.is_low(1.2)) == (low, still_low)


def test_files_that_others_can_read(make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    settings.data_dir.mkdir(mode=0o755)
    key = settings.data_dir / "secret.key"
    key.write_text("x")
    reachable = all(folder.stat().st_mode & 0o001 for folder in key.parents)
    assert bool(exposed_files(settings)) is reachable  # pytest's own folder is private
    monkeypatch.setattr("shared.core.machine._others_can_read", lambda path: path == key)
    assert failure(lambda: check_files(settings)).endswith(f"chmod 600 {key}")


# The database


@pytest.mark.usefixtures("bound_database")
def test_a_healthy_installation_passes(
    make_settings: MakeSettings, any_database_url: str, redis_url: str, upstream: Upstream
) -> None:
    factories.model("m-1", factories.channel(upstream.url))
    AlertCheck.update(checked_at=now_ms()).execute()
    settings = make_settings(database_url=any_database_url, redis_url=redis_url)
    settings.data_dir.mkdir()
    with results(settings) as failed:
        assert failed() == {}
        assert AuditEntry.select().where(AuditEntry.actor == "doctor").count() == 0  # the trial was rolled back
        assert upstream.calls == []


def test_missing_partitions_are_reported(
    bound_postgres: peewee.Database, postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list_partitions("usage_ledger")[0]
    monkeypatch.setattr(database_checks, "now_ms", lambda: first.until - 40 * DAY_MS)
    assert database_checks.check_partitions(bound_postgres) == ""
    monkeypatch.setattr(database_checks, "now_ms", lambda: first.until - DAY_MS)
    advice = failure(lambda: database_checks.check_partitions(bound_postgres))
    assert advice == "No partition for the next month: usage_ledger, ledger_entry. Read the worker's log."
    with opened(postgres.application(postgres_url)) as other:
        bind_database(other)
        assert failure(lambda: database_checks.check_partitions(other)).endswith("at least once a month.")
    bind_database(bound_postgres)
    call = {"id": id_bound(first.until + 100 * DAY_MS), "model": "m", "price": new_id(), "status": "completed", "streamed": True}
    UsageLedger.create(account=factories.account(), **call)
    create_partitions(first.until - DAY_MS)
    advice = failure(lambda: database_checks.check_partitions(bound_postgres))
    assert advice.startswith("There are rows in usage_ledger_default")


@pytest.mark.usefixtures("bound_database")
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_each_fault_is_reported_by_its_own_check(make_settings: MakeSettings, any_database_url: str, redis_url: str) -> None:
    factories.model("m-1", factories.channel(f"http://127.0.0.1:{free_port()}", name="acme"))
    AlertCheck.update(checked_at=now_ms() - 600_000).execute()
    settings = make_settings(database_url=any_database_url, redis_url=redis_url, secret_key="x" * 40)
    settings.data_dir.mkdir()
    with results(settings) as failed:
        database.execute_sql("DELETE FROM schema_migration WHERE name = (SELECT max(name) FROM schema_migration)")
        found = failed()
    assert set(found) == {"migrations", "secret_key", "worker", "channels", "purges"}
    assert "yout migrate" in found["migrations"]
    assert found["purges"] == "Not checked, because the check `migrations` failed."
    assert "yout secret rotate" in found["secret_key"]
    assert found["worker"].startswith("No worker has run for 0:10:")
    assert found["channels"].startswith("Cannot connect to acme (")


@pytest.mark.usefixtures("bound_database")
def test_refused_purges_are_named_until_they_go_on() -> None:
    job = PurgeJob.create(account=factories.account(), boundary=0, due_at=0)
    assert database_checks.check_purges(database.obj) == ""
    PurgeJob.update(problem="entry 3 was changed").execute()
    advice = failure(lambda: database_checks.check_purges(database.obj))
    assert advice.startswith(f"Refused purges: {job.id} (entry 3 was changed). ")
    assert "yout ledger verify" in advice
    PurgeJob.update(status="done").execute()
    assert database_checks.check_purges(database.obj) == ""
    PurgeJob.update(status="running", problem=None).execute()
    assert database_checks.check_purges(database.obj) == ""


@pytest.mark.usefixtures("bound_database")
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_channels_that_do_not_answer_do_not_keep_the_command_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    factories.model("m-1", factories.channel("http://127.0.0.1:1", name="acme"))
    never = threading.Event()
    monkeypatch.setattr(database_checks, "_connection_failure", lambda url: str(never.wait()))
    monkeypatch.setattr(database_checks, "_CHANNELS_SECONDS", 0)
    assert "acme (not checked in time)" in failure(lambda: database_checks.check_channels(database.obj))
    waiting = [thread for thread in threading.enumerate() if thread.name == "check of channels"]
    assert waiting
    assert all(thread.daemon for thread in waiting)
    never.set()


def test_a_read_only_database_and_an_outage(make_settings: MakeSettings, postgres: Postgres, postgres_url: str) -> None:
    settings = make_settings(database_url=postgres.application(postgres_url), redis_url=f"redis://127.0.0.1:{free_port()}")
    settings.data_dir.mkdir()
    with results(settings) as failed, postgres.without_right(postgres_url, "INSERT", "hold"):
        assert "permission denied for table hold" in failed()["database"]
    postgres.cut_off(postgres_url)
    try:
        with results(settings) as failed:
            found = failed()
    finally:
        postgres.reconnect(postgres_url)
    assert found["database"].startswith("The database of DATABASE_URL is unavailable")
    assert found["migrations"] == "Not checked, because the check `database` failed."
    assert found["redis"].startswith("Redis of REDIS_URL is unavailable")
    assert not {"media", "disk", "files"} & set(found)  # these do not need it


# Servers


@pytest.mark.parametrize(
    ("policy", "limit", "remark", "fails"),
    [
        ("noeviction", 10**9, "", False),
        ("volatile-lru", 10**9, "", False),
        ("allkeys-lru", 10**9, "noeviction", True),
        ("allkeys-lru", 0, "noeviction", False),
        ("", 0, "noeviction", False),
    ],
)
def test_eviction_policies(policy: str, limit: int, remark: str, fails: bool) -> None:
    if fails:
        assert remark in failure(lambda: _check_eviction(policy, limit))
    else:
        assert remark in _check_eviction(policy, limit)


def test_a_redis_that_may_delete_jobs_or_is_a_replica(make_settings: MakeSettings, tmp_path: Path) -> None:
    server = RedisServer("valkey", tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru")
    try:
        settings = make_settings(redis_url=server.url)
        assert "allkeys-lru" in failure(lambda: check_redis(settings))
        with redis.Redis.from_url(server.url) as client:
            client.replicaof("127.0.0.1", free_port())
        assert "refuses a write" in failure(lambda: check_redis(settings))
    finally:
        server.kill()


def test_the_login_of_the_mail_server_is_tried_without_a_mail(make_settings: MakeSettings) -> None:
    server = SmtpServer(login=("ada", "secret"))
    own = {"mail_from": "a@example.com", "public_url": "http://127.0.0.1"}
    try:
        for password, works in (("secret", True), ("wrong", False)):
            settings = make_settings(smtp_url=f"smtp://ada:{password}@127.0.0.1:{server.port}?starttls=off", **own)
            if works:
                assert check_mail(settings) == ""
            else:
                assert failure(partial(check_mail, settings)).startswith("The mail server of YOUT_SMTP_URL")
        assert server.mails == []
    finally:
        server.close()
    nobody = make_settings(smtp_url=f"smtp://127.0.0.1:{free_port()}", **own)
    assert "cannot be reached" in failure(lambda: check_mail(nobody))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trusted_proxies": ("0.0.0.0/0",)}, "could claim any address"),
        ({"environment": "production", "public_url": "http://yout.example"}, "only sign in over https"),
        ({"environment": "production", "public_url": "https://yout.example"}, "YOUT_TRUSTED_PROXIES is empty"),
    ],
)
def test_a_public_url_that_does_not_fit_its_proxies(make_settings: MakeSettings, settings: dict[str, Any], words: str) -> None:
    assert words in failure(lambda: check_public_url(make_settings(**settings)))


def test_a_public_url_that_leads_elsewhere(make_settings: MakeSettings, upstream: Upstream) -> None:
    elsewhere = upstream.url.removesuffix("/v1")
    assert "does not lead to the edge" in failure(lambda: check_public_url(make_settings(public_url=elsewhere)))
    closed = f"http://127.0.0.1:{free_port()}"
    assert "does not lead to the edge" in failure(lambda: check_public_url(make_settings(public_url=closed)))


# Certificates


def test_the_expiry_of_a_certificate_is_read_without_trusting_it(tmp_path: Path) -> None:
    context = Authority(tmp_path).server_context(x509.DNSName("mx.test"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        end = read_expiry(TlsServer("REDIS_URL", "127.0.0.1", port))
        thread.join(10)
    assert end is not None
    assert 0 < end - now_ms() < 400 * 24 * 3_600_000


def test_a_database_without_tls_has_no_certificate(postgres_url: str) -> None:
    port = psycopg.conninfo.conninfo_to_dict(postgres_url)["port"]
    assert read_expiry(TlsServer("DATABASE_URL", "127.0.0.1", int(str(port)), is_postgres=True)) is None


def test_which_servers_have_certificates(make_settings: MakeSettings) -> None:
    settings = make_settings(
        public_url="https://yout.example",
        redis_url="rediss://cache:6380",
        broker_url="amqps://u:p@mq/yout",
        database_url="postgres://u:p@one:5433,two/yout?sslmode=require",
    )
    assert tls_servers(settings) == [
        TlsServer("YOUT_PUBLIC_URL", "yout.example", 443),
        TlsServer("REDIS_URL", "cache", 6380),
        TlsServer("BROKER_URL", "mq", 5671),
        TlsServer("DATABASE_URL", "one", 5433, is_postgres=True),
        TlsServer("DATABASE_URL", "two", 5432, is_postgres=True),
    ]
    local = make_settings(redis_url="redis://cache", database_url="postgres://u@db/yout?sslmode=disable", public_url="http://x")
    assert tls_servers(local) == []
