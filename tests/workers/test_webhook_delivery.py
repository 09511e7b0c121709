"""Webhooks of finished jobs: a receiver that never responds delays neither other jobs nor other webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee
import pytest

from shared.core.clock import new_id, now_ms
from shared.core.settings import Settings
from shared.media import webhooks
from shared.media.webhooks import DueCallback
from shared.models import Account, MediaJob
from tests import factories
from tests.edge.media.media_stack import default_script
from tests.servers.process import Process, eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, delayed, json_response, no_response
from tests.workers.test_media_jobs import MediaSetup
from workers.webhook_delivery import (
    MAX_IN_FLIGHT,
    MAX_PER_ACCOUNT,
    MAX_PER_HOST,
    Delivery,
    WebhookDeliverer,
    host_of,
    select_deliveries,
)

DAY_MS = 86_400_000


def ended_job(owner: Account, url: str, **columns: Any) -> UUID:
    """A cancelled job whose webhook is due."""
    now = now_ms()
    values = {"status": "cancelled", "deadline_at": now, "due_at": now, "finished_at": now, "callback_due_at": 1, **columns}
    job: MediaJob = MediaJob.create(
        id=new_id(), account=owner.id, kind="image", model="m-1", price=new_id(), credits_held=0, callback_url=url, **values
    )
    return job.id


def undelivered() -> int:
    return MediaJob.select().where(MediaJob.callback_url.is_null(False)).count()


# Choosing deliveries


ADA, BEN = new_id(), new_id()


def due(account: UUID, host: str, count: int = 1) -> list[DueCallback]:
    return [DueCallback(new_id(), account, f"https://{host}/hook") for _ in range(count)]


def under_way(account: UUID, host: str, count: int) -> list[Delivery]:
    return [Delivery(new_id(), account, host) for _ in range(count)]


def test_deliveries_per_account_are_limited() -> None:
    many, one = due(ADA, "a.example", 100), due(BEN, "b.example")
    assert select_deliveries([*many, *one], []) == ([*many[:MAX_PER_ACCOUNT], *one], [])
    assert select_deliveries([*many, *one], under_way(ADA, "elsewhere.example", MAX_PER_ACCOUNT - 1)).start == [many[0], *one]


def test_deliveries_per_host_are_limited() -> None:
    accounts = [new_id() for _ in range(MAX_PER_HOST + 2)]
    same = [callback for account in accounts for callback in due(account, "a.example")]
    assert select_deliveries(same, []) == (same[:MAX_PER_HOST], same[MAX_PER_HOST:])
    assert select_deliveries(same, under_way(new_id(), "a.example", MAX_PER_HOST)) == ([], same)


def test_concurrent_deliveries_per_process_are_limited() -> None:
    different = [due(new_id(), f"{number}.example")[0] for number in range(MAX_IN_FLIGHT + 5)]
    assert select_deliveries(different, []) == (different[:MAX_IN_FLIGHT], [])
    assert select_deliveries(different, under_way(ADA, "x.example", MAX_IN_FLIGHT)) == ([], [])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.Example:443/x?y", "a.example"),
        ("https://a.example./z", "a.example"),
        ("http://[::1]:81/", "::1"),
        ("nonsense", ""),
    ],
)
def test_hosts_are_compared_normalized(url: str, host: str) -> None:
    assert host_of(url) == host


# Deliveries


@pytest.fixture
def callbacks(bound_database: peewee.Database, make_settings: Callable[..., Settings]) -> Iterator[WebhookDeliverer]:
    made = WebhookDeliverer(make_settings(outbound_networks=("127.0.0.1/32",)))
    yield made
    made.finish(20)


def test_hanging_webhooks_of_one_account_delay_no_other(
    callbacks: WebhookDeliverer, start_upstream: Callable[[], Upstream]
) -> None:
    silent, quick, gate = start_upstream(), start_upstream(), Gate()
    silent.default = lambda _: delayed(gate, json_response({}))
    ada, ben = factories.account(), factories.account()
    held_back = [ended_job(ada, f"{silent.url}/hook") for _ in range(MAX_PER_ACCOUNT + 2)]
    another_host = f"{quick.url}/hook".replace("127.0.0.1", "localhost")
    delivered = ended_job(ben, another_host, callback_due_at=2)
    callbacks.deliver_due()
    eventually(lambda: len(silent.calls) == MAX_PER_ACCOUNT, "the account's limit of deliveries is in progress")
    eventually(lambda: (callbacks.deliver_due(), MediaJob.get_by_id(delivered).callback_url is None)[1], "the other is delivered")
    assert len(quick.calls) == 1
    assert len(silent.calls) == MAX_PER_ACCOUNT
    assert [MediaJob.get_by_id(job).callback_attempts for job in held_back] == [*[1] * MAX_PER_ACCOUNT, 0, 0]
    gate.open()
    eventually(lambda: (callbacks.deliver_due(), undelivered() == 0)[1], "the rest is delivered")
    assert len(silent.calls) == len(held_back)


def test_a_busy_host_is_postponed_without_counting_an_attempt(callbacks: WebhookDeliverer, upstream: Upstream) -> None:
    gate = Gate()
    upstream.default = lambda _: delayed(gate, json_response({}))
    jobs = [ended_job(factories.account(), f"{upstream.url}/hook") for _ in range(MAX_PER_HOST + 2)]
    began = now_ms()
    callbacks.deliver_due()
    rows = [MediaJob.get_by_id(job) for job in jobs]
    assert sorted(row.callback_attempts for row in rows) == [0, 0, *[1] * MAX_PER_HOST]
    assert all(row.callback_due_at > began for row in rows)
    gate.open()
    MediaJob.update(callback_due_at=1).where(MediaJob.callback_attempts == 0).execute()  # end the retry delay
    eventually(lambda: (callbacks.deliver_due(), undelivered() == 0)[1], "all are delivered")


def test_an_attempt_is_claimed_once(bound_database: peewee.Database) -> None:
    job = ended_job(factories.account(), "https://a.example/hook")
    assert webhooks.claim_callbacks([job]) == {job}
    assert webhooks.claim_callbacks([job]) == set()
    assert webhooks.due_callbacks(10) == []


def test_due_deliveries_can_exclude_accounts(bound_database: peewee.Database) -> None:
    ada, ben = factories.account(), factories.account()
    late, later_still = ended_job(ada, "https://a.example/"), ended_job(ben, "https://b.example/", callback_due_at=2)
    assert [callback.job for callback in webhooks.due_callbacks(10)] == [late, later_still]
    assert [callback.account for callback in webhooks.due_callbacks(10, excluded_accounts=[ada.id])] == [ben.id]


def test_a_webhook_is_abandoned_after_its_attempts_or_a_day(bound_database: peewee.Database) -> None:
    owner = factories.account()
    ended_job(owner, "https://a.example/", callback_attempts=webhooks.MAX_ATTEMPTS)
    ended_job(owner, "https://a.example/", finished_at=now_ms() - DAY_MS - 1)
    kept = ended_job(owner, "https://a.example/", finished_at=now_ms() - DAY_MS + 60_000)
    assert [callback.job for callback in webhooks.due_callbacks(10)] == [kept]
    assert undelivered() == 1


def test_hanging_webhooks_do_not_delay_another_accounts_job(
    bound_postgres: peewee.Database,
    postgres_url: str,
    redis_url: str,
    tmp_path: Path,
    start_edge: Callable[..., Any],
    start_worker: Callable[..., Process],
    start_upstream: Callable[[], Upstream],
) -> None:
    seller, silent = start_upstream(), start_upstream()
    seller.default, silent.default = default_script, lambda _: no_response()
    setup = MediaSetup(start_edge(database_url=postgres_url, redis_url=redis_url, data_dir=tmp_path), seller)
    other = factories.account()
    for _ in range(40):
        ended_job(other, f"{silent.url}/hook")
    start_worker(database_url=postgres_url, redis_url=redis_url, data_dir=tmp_path, outbound_networks=("127.0.0.1/32",))
    eventually(lambda: len(silent.calls) >= MAX_PER_ACCOUNT, "the webhooks are in progress")
    ordered = setup.order()
    eventually(lambda: setup.job(ordered).status == "succeeded", "the job is made meanwhile")
    assert MediaJob.select().where(MediaJob.callback_attempts > 0).count() < 40
