"""Admin keys at the edge: revocation, expiry, last use and the limit on wrong keys."""

from __future__ import annotations

from collections.abc import Callable

import peewee

from shared.core.clock import now_ms
from shared.identity.admin_scopes import ALL
from shared.identity.api_key_format import ADMIN_PREFIX, new_key
from shared.models import AdminKey
from shared.operations.admin_keys import create_admin_key, revoke_admin_key
from tests.edge.admin.conftest import AdminClient, AdminStack
from tests.edge.shared_edge import Reply
from tests.factories import ORIGIN
from tests.servers.edge import WebProcess
from tests.servers.process import eventually


def test_a_revoked_key_is_refused_from_the_next_request_on(stack: AdminStack) -> None:
    client = stack.client()
    assert client.get("/accounts/").status == 200
    revoke_admin_key(client.key.id, origin=ORIGIN)
    assert (client.get("/accounts/").status, client.get("/accounts/").error["code"]) == (401, "invalid_api_key")


def test_an_expired_key_is_refused(stack: AdminStack) -> None:
    client = stack.client(ALL, expires_at=now_ms() + 3_600_000)
    assert client.get("/accounts/").status == 200
    AdminKey.update(expires_at=now_ms()).where(AdminKey.id == client.key.id).execute()
    assert client.get("/accounts/").status == 401


def test_the_last_use_is_stored_to_the_minute(stack: AdminStack) -> None:
    client = stack.client()
    before = now_ms()

    def used() -> int | None:
        return AdminKey.get_by_id(client.key.id).last_used_at  # type: ignore[no-any-return]  # a column

    client.get("/accounts/")
    eventually(lambda: (used() or 0) >= before, "the use is stored")
    first = used()
    client.get("/accounts/")
    client.post("/accounts/", {"email": "x"})  # the writer runs its jobs in order
    assert used() == first


def test_a_network_with_wrong_keys_gets_429_and_valid_keys_still_work(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: Callable[..., WebProcess]
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, refused_keys_rpm=3)
    stack = AdminStack(edge)

    def get(secret: str) -> Reply:
        return stack.request("GET", "/api/admin/accounts/", None, {"authorization": f"Bearer {secret}"})

    secret = create_admin_key("ci", [ALL], origin=ORIGIN).secret
    assert [get(new_key(ADMIN_PREFIX).secret).status for _ in range(5)] == [401, 401, 401, 429, 429]
    assert get("yout-admin-short").status == 429
    assert get(secret).status == 200


def test_each_key_has_a_limit_of_requests_per_minute(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_edge: Callable[..., WebProcess]
) -> None:
    stack = AdminStack(start_edge(database_url=any_database_url, redis_url=redis_url, admin_key_rpm=3))
    first, second = stack.client(), stack.client("plans:read")
    assert [first.get("/plans/").status for _ in range(3)] == [200] * 3
    refused = first.post("/accounts/", {"email": "ada@example.com"})
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert [second.get(path).status for path in ("/plans/", "/accounts/")] == [200, 403]


def test_a_parameter_that_is_sent_twice_is_refused(admin: AdminClient) -> None:
    reply = admin.get("/accounts/?status=closed&status=active")
    assert (reply.status, reply.error["param"]) == (400, "status")
    assert "more than once" in reply.error["message"]
    assert admin.get("/accounts/?status=closed&limit=5").status == 200
