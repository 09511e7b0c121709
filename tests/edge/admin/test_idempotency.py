"""`Idempotency-Key`: a repeated POST gets the first answer, and takes effect once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import peewee

from shared.core.clock import now_ms
from shared.identity.admin_scopes import ALL
from shared.models import Account, AdminAnswer, AuditEntry
from shared.operations.admin_keys import create_admin_key, revoke_admin_key
from tests import factories
from tests.edge.admin.conftest import AdminClient, AdminStack
from tests.factories import ORIGIN
from tests.servers.edge import WebProcess


def test_a_repetition_gets_the_same_answer(admin: AdminClient) -> None:
    body = {"email": "repeat@example.com", "name": "R"}
    first = admin.post("/accounts/", body, idempotency_key="k-1")
    assert first.status == 201
    again = admin.post("/accounts/", body, idempotency_key="k-1")
    assert (again.status, again.body) == (201, first.body)
    assert Account.select().where(Account.email == body["email"]).count() == 1
    assert AuditEntry.select().where(AuditEntry.target == first.json["id"]).count() == 1


def test_another_body_or_path_is_a_conflict(admin: AdminClient) -> None:
    assert admin.post("/accounts/", {"email": "one@example.com"}, idempotency_key="k-2").status == 201
    other = admin.post("/accounts/", {"email": "two@example.com"}, idempotency_key="k-2")
    assert (other.status, other.error["code"]) == (409, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
    assert not Account.select().where(Account.email == "two@example.com").exists()


def test_the_keys_of_other_admin_keys_are_separate(admin: AdminClient, stack: AdminStack) -> None:
    mine = admin.post("/accounts/", {"email": "mine@example.com"}, idempotency_key="same")
    theirs = stack.client().post("/accounts/", {"email": "theirs@example.com"}, idempotency_key="same")
    assert (mine.status, theirs.status) == (201, 201)


def test_a_refused_request_leaves_the_key_free(admin: AdminClient) -> None:
    assert admin.post("/accounts/", {"email": "no address"}, idempotency_key="k-3").status == 400
    assert admin.post("/accounts/", {"email": "right@example.com"}, idempotency_key="k-3").status == 201


def test_parallel_repetitions_take_effect_once(admin: AdminClient) -> None:
    body = {"email": "parallel@example.com"}
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: admin.post("/accounts/", body, idempotency_key="k-4"), range(40)))
    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    assert Account.select().where(Account.email == body["email"]).count() == 1


def test_parallel_repetitions_on_two_edges_take_effect_once(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: Callable[..., WebProcess]
) -> None:
    account = factories.account(0)
    created = create_admin_key("ci", [ALL], origin=ORIGIN)
    edges = [start_edge(database_url=any_database_url, redis_url=redis_url) for _ in range(2)]
    clients = [AdminClient(AdminStack(edge), created.secret, created.row) for edge in edges]
    path, body = f"/accounts/{account.id}/entries/", {"amount": 100, "reason": "Once"}
    with ThreadPoolExecutor(20) as pool:
        sent = [pool.submit(clients[number % 2].post, path, body, idempotency_key="grant") for number in range(60)]
        replies = [one.result() for one in sent]
    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    assert Account.get_by_id(account.id).balance == 100
    assert AuditEntry.select().where(AuditEntry.action == "credits.grant", AuditEntry.actor == clients[0].actor).count() == 1


def test_an_answer_is_kept_for_a_day_and_encrypted(admin: AdminClient) -> None:
    first = admin.post("/accounts/", {"email": "kept@example.com"}, idempotency_key="k-5")
    row = AdminAnswer.get(AdminAnswer.admin_key == admin.key.id)
    assert 23 * 3_600_000 < row.expires_at - now_ms() <= 24 * 3_600_000
    assert "kept" not in str(row.__data__)
    AdminAnswer.update(expires_at=now_ms()).where(AdminAnswer.digest == row.digest).execute()
    later = admin.post("/accounts/", {"email": "later@example.com"}, idempotency_key="k-5")
    assert (later.status, later.json["id"] == first.json["id"]) == (201, False)


def test_answers_end_with_their_day_and_with_their_key(stack: AdminStack) -> None:
    first, second = stack.client(), stack.client()
    for number, client in enumerate((first, second)):
        assert client.post("/accounts/", {"email": f"end-{number}@example.com"}, idempotency_key="k-6").status == 201
    revoke_admin_key(first.key.id, origin=ORIGIN)
    assert [row.admin_key_id for row in AdminAnswer.select().where(AdminAnswer.admin_key << [first.key, second.key])] == [
        second.key.id
    ]
    AdminAnswer.update(expires_at=now_ms()).where(AdminAnswer.admin_key == second.key).execute()
    assert stack.client().post("/accounts/", {"email": "end-2@example.com"}, idempotency_key="k-7").status == 201
    assert not AdminAnswer.select().where(AdminAnswer.admin_key == second.key).exists(), "any later request deletes old answers"


def test_a_key_that_is_too_long_is_refused(admin: AdminClient) -> None:
    reply = admin.post("/accounts/", {"email": "long@example.com"}, idempotency_key="k" * 256)
    assert (reply.status, reply.error["param"]) == (400, "Idempotency-Key")
