"""The home page: figures for a range, by account, model and channel, and items that need attention."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis

from console.app import create_app
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.ledger import post_entry
from shared.models import Alert, AlertCheck, Channel, EdgeProcess, MediaJob, RollupState
from shared.rollup import update_sums
from tests import factories
from tests.console.conftest import Browser
from tests.console.test_pages import hold, usage_row
from tests.servers.process import free_port

HOUR = 3_600_000
DAY = 24 * HOUR


def figures_of(text: str) -> dict[str, str]:
    return dict(re.findall(r'<dt>([^<]+)</dt>\s*<dd class="figure[^"]*">([^<]+)</dd>', text))


def test_home_counts_only_the_last_day(signed_in):
    owner = factories.account()
    for credits, status in ((700, "completed"), (50, "cancelled"), (0, "failed")):
        usage_row(owner, credits=credits, status=status, input_tokens=10, output_tokens=4, first_token_ms=420)
    usage_row(owner, credits=9_000, created_at=now_ms() - 26 * HOUR)
    dead = EdgeProcess.create(host="gone", pid=1, seen_at=now_ms() - HOUR)
    alive = EdgeProcess.create(host="here", pid=2)
    hold(owner, edge_process=alive.id)
    hold(owner, edge_process=dead.id)
    hold(owner, expires_at=now_ms() - 1)
    with transaction():
        post_entry(owner.id, "refund", 77, actor="worker", reason="job failed", call=new_id())
    text = signed_in("owner").get("/").text
    expected = {
        "Calls": "3",
        "Credits charged": "750",
        "Tokens": "42",
        "Failed calls": "1",
        "Open holds": "3",
        "Stuck holds": "2",
        "Refunded today": "77",
        "Accounts": "1",
    }
    assert figures_of(text).items() >= expected.items()
    assert "33.33" in text
    assert "Redis is unavailable" in text
    holds = signed_in("support").get("/holds/").text
    assert holds.count("past deadline") == 1
    assert holds.count("process not responding") == 1


@pytest.mark.parametrize(("name", "calls"), [("1h", 1), ("24h", 2), ("7d", 3), ("30d", 4), ("nonsense", 2)])
def test_each_range_counts_calls_whether_rolled_up_or_not(signed_in, name, calls):
    owner, now = factories.account(), now_ms()
    for ago in (60_000, 20 * HOUR, 5 * DAY, 20 * DAY, 40 * DAY):
        usage_row(owner, created_at=now - ago, credits=10)
    browser = signed_in("readonly")
    for _ in range(2):
        found = figures_of(browser.get(f"/?range={name}").text)
        assert (found["Calls"], found["Credits charged"]) == (str(calls), str(10 * calls))
        update_sums(now, 60)
    assert RollupState.get().rolled_until > now - 2 * HOUR


def test_filters_apply_to_every_figure_and_can_be_removed(signed_in):
    first, second = factories.account(), factories.account()
    channel = factories.channel("https://up.example/v1")
    factories.model("m-1", channel)
    factories.model("m-2", channel)
    usage_row(first, model="m-1", channel=channel.id, credits=5)
    usage_row(first, model="m-2", credits=7)
    usage_row(second, model="m-1", credits=11)
    browser = signed_in("owner")
    for query, credits in (
        (f"account={first.email}", "12"),
        ("model=m-1", "16"),
        (f"channel={channel.id}", "5"),
        (f"account={second.id}&model=m-2", "0"),
    ):
        text = browser.get(f"/?{query}").text
        assert figures_of(text)["Credits charged"] == credits, query
        assert text.count('class="chip"') == query.count("=")
    assert browser.get("/?channel=nonsense").status_code == 400
    assert browser.get("/?account=nobody@example.com").status_code == 404
    text = browser.get("/").text
    assert text.index(first.email) < text.index(second.email), "accounts are sorted by charge, highest first"


def test_a_channel_shows_its_error_rate(signed_in):
    owner = factories.account()
    for failed, name in ((0, "good"), (1, "so-so"), (6, "bad")):
        channel = factories.channel("https://up.example/v1", name=name)
        for number in range(12):
            usage_row(owner, channel=channel.id, status="failed" if number < failed else "completed")
    usage_row(owner, channel=factories.channel("https://up.example/v1", name="new").id, status="failed")
    text = signed_in("owner").get("/").text
    channels = text[text.index("<h2>Channels</h2>") :]
    rows = dict(re.findall(r'class="row"[^>]*>([^<]+)</a>.*?<span class="state [a-z]+">([a-z ]+)</span>', channels, re.DOTALL))
    assert rows == {"good": "running", "so-so": "degraded", "bad": "failing", "new": "low traffic"}
    assert Channel.select().count() == 4


def test_queued_messages_and_jobs_are_counted(bound_database, make_settings, redis_url, staff: Callable[[str], Any]):
    client = redis.Redis.from_url(redis_url)
    client.rpush("dramatiq:media", "a", "b")
    client.rpush("dramatiq:default.DQ", "c")
    client.zadd("dramatiq:default.XQ", {"d": 1})
    client.close()
    owner, now = factories.account(), now_ms()
    common = {
        "account": owner,
        "kind": "image",
        "model": "m",
        "price": new_id(),
        "due_at": now,
        "deadline_at": now,
        "credits_held": 0,
    }
    MediaJob.create(**common, status="queued")
    MediaJob.create(**common, status="failed", finished_at=now)
    visitor = Browser(create_app(make_settings(redis_url=redis_url)).test_client())
    visitor.sign_in(staff("owner").email)
    text = visitor.get("/").text
    assert figures_of(text).items() >= {"Queued messages": "2", "Media jobs open": "1", "Media jobs failed": "1"}.items()
    assert "1 delayed · 1 dead" in text


def test_an_unavailable_broker_is_named(bound_database, make_settings, staff: Callable[[str], Any]):
    visitor = Browser(create_app(make_settings(broker_url=f"amqp://127.0.0.1:{free_port()}")).test_client())
    visitor.sign_in(staff("owner").email)
    assert "RabbitMQ is unavailable" in visitor.get("/").text


def test_a_lagging_rollup_is_reported(signed_in):
    usage_row(factories.account(), created_at=now_ms() - 10 * HOUR)
    update_sums(now_ms() - 5 * HOUR, 60)
    text = signed_in("owner").get("/").text
    assert "Usage is aggregated only until" in text
    assert figures_of(text)["Calls"] == "1"


def test_every_response_has_a_server_timing_header(signed_in):
    browser = signed_in("owner")
    for path in ("/", "/usage/", "/nothing", "/healthz"):
        assert re.fullmatch(r"app;dur=\d+\.\d", browser.get(path).headers["Server-Timing"]), path


def test_open_alerts_and_a_silent_worker(signed_in: Callable[[str], Browser]) -> None:
    seen = now_ms() - 60_000
    details = {"host": "one", "path": "/data", "free": "0.5"}
    Alert.create(kind="disk_full", subject="one", details=details, opened_at=seen)
    Alert.create(kind="jobs_stuck", details={"count": 3})  # not open yet
    Alert.create(kind="mail_unsent", details={"count": 3}, opened_at=seen, closed_at=seen)
    browser = signed_in("readonly")
    text = browser.get("/").text
    assert "The disk of one is nearly full: 0.5 GiB free at /data." in text
    assert "Free up space or enlarge the disk" in text
    assert "media jobs are stuck" not in text
    assert "not been sent" not in text
    assert "No worker has run yet." in text
    AlertCheck.update(checked_at=now_ms()).execute()
    assert "No worker has run" not in browser.get("/").text
