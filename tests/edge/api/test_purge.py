"""Purges requested with a key, with a session and by a visitor: one at a time, certified by a public key."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import peewee

from shared.core.clock import now_ms
from shared.files import certificates
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Allowance, AuditEntry, Hold, PurgeJob, UsageLedger
from tests import factories
from tests.edge.api.conftest import ApiStack, Customer
from tests.edge.shared_edge import Reply, read
from tests.servers.edge import SECRET_KEY, WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream

PATH = "/api/chat/purge/"
StartWeb = Callable[..., WebProcess]


def test_only_one_purge_runs_at_a_time(customer: Customer) -> None:
    first = customer.post(PATH)
    assert (first.status, first.json["status"], first.json["certificate"]) == (202, "queued", None)
    assert customer.post(PATH).json["id"] == first.json["id"]
    assert PurgeJob.select().where(PurgeJob.account == customer.account.id).count() == 1
    shown = customer.get(f"{PATH}{first.json['id']}/")
    assert (shown.status, shown.json["finished"]) == (200, None)
    [entry] = AuditEntry.select().where((AuditEntry.action == "account.purge") & (AuditEntry.target == str(customer.account.id)))
    assert entry.after == {"purge": first.json["id"]}
    assert entry.actor.startswith("key:")


def test_the_certificate_key_is_public_and_an_invalid_api_key_purges_nothing(api: ApiStack) -> None:
    pem = api.request("GET", "/.well-known/yout-purge-key.pem")
    assert (pem.status, pem.body) == (200, certificates.public_pem(SECRET_KEY))
    wrong = api.request("POST", PATH, headers={"authorization": "Bearer yout-wrong"})
    assert wrong.status == 401
    assert api.request("GET", f"{PATH}x/").status == 401


def test_a_visitor_purge_keeps_only_the_used_allowance(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: StartWeb
) -> None:
    factories.model("free", factories.channel(upstream.url), input=0, output=0, is_free=True)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, visitor_pool_credits=1_000, visitor_daily_credits=100)

    def send(agent: str, method: str, path: str, body: Any = None) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=30)) as connection:
            connection.request(method, path, json.dumps(body) if body else None, {"user-agent": agent})
            return read(connection.getresponse())

    for agent in ("mine", "mine", "theirs"):
        assert send(agent, "POST", "/api/chat/stream/", {"model": "free", "prompt": "Hi"}).status == 200
    eventually(lambda: UsageLedger.select().count() == 3, "the calls are settled")
    used = send("mine", "GET", "/api/chat/limit/").json["used"]
    purged = send("mine", "POST", PATH)
    assert (purged.status, purged.json["status"]) == (202, "done")
    certificate = certificates.verify_certificate(purged.json["certificate"], certificates.public_key(SECRET_KEY))
    assert certificate["removed"] == {"usage_rows": 2, "holds": 2, "idempotency_claims": 0}
    assert certificate["remains"] == {"allowance_used_until_midnight": used}
    assert "account" not in certificate
    assert (UsageLedger.select().count(), Hold.select().where(Hold.account == POOL_ACCOUNT_ID).count()) == (1, 1)
    assert send("mine", "GET", "/api/chat/limit/").json["used"] == used > 0
    assert Allowance.select().count() == 2
    assert verify_ledger(now_ms()).problems == ()
