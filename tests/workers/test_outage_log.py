"""A Redis outage is logged once, even if a thread notices it late."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
import redis

from shared.core.availability import Availability
from tests.threads import join
from workers import broker


def test_a_late_failure_does_not_log_a_second_outage(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "yout.availability")
    monkeypatch.setattr(broker, "REDIS", Availability("Redis"))  # that of this process may be in an outage already
    begun, over = threading.Event(), threading.Event()

    def play(_: Any, name: str, **__: Any) -> str:
        if name == "LATE":
            begun.set()
            assert over.wait(20)
        if name != "WELL":
            raise redis.ConnectionError("refused")
        return "OK"

    monkeypatch.setattr(redis.Redis, "execute_command", play)
    client = broker.make_broker("redis://127.0.0.1:1/0").client

    def fail(name: str) -> None:
        with pytest.raises(redis.ConnectionError):
            client.execute_command(name)

    late = threading.Thread(target=fail, args=("LATE",), daemon=True)
    late.start()
    assert begun.wait(20)
    fail("SOON")
    client.execute_command("WELL")
    over.set()
    join(late)
    client.execute_command("WELL")
    logged = [re.split(r" \(| after", record.message)[0] for record in caplog.records]
    assert logged == ["Redis is unavailable", "Redis is available again"]
