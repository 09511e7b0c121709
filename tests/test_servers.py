"""The test suite's own servers: real, stoppable and restartable for outage tests, and never left running."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from shared.core.settings import Settings
from tests.servers.edge import environment_of
from tests.servers.node import NodeSdk
from tests.servers.postgres import Postgres, as_nobody
from tests.servers.process import Process, StartFailed, dies_with_parent, eventually
from tests.servers.redis import RedisServer


def test_postgresql_is_real_and_current(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.info.server_version >= 180_000


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only needed for root on Linux")
def test_postgresql_starts_without_user_namespaces() -> None:
    server = Postgres(as_nobody)
    try:
        with psycopg.connect(server.url("postgres")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def test_a_database_can_be_cut_off_and_reconnected(postgres: Postgres, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        postgres.cut_off(postgres_url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_url)
    postgres.reconnect(postgres_url)
    psycopg.connect(postgres_url).close()


def test_each_redis_starts_empty(any_redis_url: str) -> None:
    with redis.Redis.from_url(any_redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_redis_can_crash_hang_and_come_back(own_redis: RedisServer) -> None:
    own_redis.freeze()
    with redis.Redis.from_url(own_redis.url, socket_timeout=0.1, retry=None) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    own_redis.thaw()
    own_redis.kill()
    with redis.Redis.from_url(own_redis.url, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    own_redis.restart()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.ping()


def test_a_process_that_exits_early_reports_its_output(processes: list[Process], tmp_path: Path) -> None:
    process = run_python("raise SystemExit('the port is taken')", tmp_path)
    processes.append(process)
    with pytest.raises(StartFailed, match="the port is taken"):
        process.wait_ready(lambda: False)
    assert process.returncode == 1


def test_killing_a_process_kills_its_children(tmp_path: Path) -> None:
    child_program = "import os, time; print(os.getpid()); time.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child_program!r}])"
    process = run_python(program, tmp_path)
    process.wait_ready(lambda: process.output().endswith("\n"))
    child = int(process.output())
    process.kill()
    assert process.returncode == -signal.SIGKILL
    eventually(lambda: ended(child), "the child is gone")


def run_python(program: str, folder: Path) -> Process:
    argv = dies_with_parent([sys.executable, "-u", "-c", program])
    return Process("python", argv, env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=folder, log=folder / "python.log")


def ended(pid: int) -> bool:
    """Whether the process is gone, or is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_settings_become_environment_variables() -> None:
    values = {"edge_port": 1234, "local_model": False, "trusted_proxies": ("10.0.0.1", "10.0.0.2")}
    settings = Settings.load(environment_of(values), dotenv=None)
    assert {name: getattr(settings, name) for name in values} == values


def test_the_node_sdk_runs_on_a_node_that_it_supports(node_sdk: NodeSdk) -> None:
    script = "import OpenAI from 'openai'; console.log(typeof OpenAI.Chat, process.versions.node.split('.')[0] >= 22)"
    done = node_sdk.run(script, env={})
    assert (done.returncode, done.stdout) == (0, "function true\n"), done.stderr
