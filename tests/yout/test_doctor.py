"""`yout doctor`: its two output formats and its exit code, also without a database or with invalid settings."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from shared.core.clock import now_ms
from tests.servers.process import free_port
from tests.yout.command import Installation

CHECKS = {
    *("settings", "database", "migrations", "secret_key", "worker", "channels", "purges", "clock", "redis", "limiter"),
    *("public_url", "certificates", "media", "mail", "disk", "files"),
}


@pytest.fixture
def installation(tmp_path: Path, redis_url: str) -> Installation:
    """A migrated installation with a Redis server, whose worker has just run."""
    made = Installation(tmp_path, REDIS_URL=redis_url)
    assert made.yout("migrate").code == 0
    with made.database() as database:
        database.execute("UPDATE alert_check SET checked_at = ?", [now_ms()])
    return made


def failed(data: dict[str, Any]) -> set[str]:
    """The names of the failed checks, each of which has advice."""
    assert all(check["advice"] for check in data["checks"] if not check["ok"])
    return {check["name"] for check in data["checks"] if not check["ok"]}


def test_a_healthy_installation(installation: Installation) -> None:
    done = installation.yout_process("doctor", "--json")
    assert (done.code, done.err, done.data["ok"], failed(done.data)) == (0, "", True, set())
    assert {check["name"] for check in done.data["checks"]} == CHECKS
    assert all(set(check) == {"name", "ok", "advice"} for check in done.data["checks"])
    assert installation.yout("doctor").out.endswith("All checks passed.\n")


def test_no_server_is_running(tmp_path: Path) -> None:
    bare = Installation(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    done = bare.yout("doctor", "--json")
    assert (done.code, done.data["ok"]) == (1, False)
    assert failed(done.data) == {"database", "redis", "limiter", "media"}
    assert not (tmp_path / "var").exists()  # it changes nothing


def test_a_server_that_hangs_does_not_hang_the_command(installation: Installation) -> None:

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        database = f"postgres://u:p@{address}/yout?connect_timeout=2"
        installation.environment |= {"DATABASE_URL": database, "REDIS_URL": f"redis://{address}/0"}
        done = installation.yout("doctor", "--json")
    assert done.code == 1
    assert failed(done.data) >= {"database", "migrations", "secret_key", "redis", "limiter"}


def test_invalid_settings_are_all_listed(installation: Installation) -> None:
    installation.environment |= {"YOUT_EDGE_PORT": "0", "YOUT_MEDIA_DAYS": "x"}
    done = installation.yout("doctor", "--json")
    assert (done.code, failed(done.data)) == (1, {"settings"})
    advice = done.data["checks"][0]["advice"]
    assert "YOUT_EDGE_PORT must be" in advice
    assert "YOUT_MEDIA_DAYS must be" in advice
    installation.environment = {name: value for name, value in installation.environment.items() if name != "YOUT_EDGE_PORT"}
    del installation.environment["YOUT_MEDIA_DAYS"]
    installation.environment["YOUT_PUBIC_URL"] = "https://yout.example"
    assert "use YOUT_PUBLIC_URL" in installation.yout("doctor").out
