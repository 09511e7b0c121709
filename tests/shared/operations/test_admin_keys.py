"""Admin keys and the answers that repeated requests get, in the database."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared.core.clock import now_ms
from shared.core.errors import IdempotencyKeyReused, InvalidInput, NotFound
from shared.identity.admin_scopes import ALL, SCOPES, check_scopes, has_scope
from shared.identity.api_key_format import ADMIN_PREFIX, digest, is_well_formed
from shared.ledger.sweep import sweep
from shared.models import AdminAnswer, AdminKey, AuditEntry
from shared.operations.admin_answers import ANSWER_MS, RepeatableRequest, answer_once
from shared.operations.admin_keys import create_admin_key, find_admin_key, list_admin_keys, record_use, revoke_admin_key
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")


def test_a_key_is_stored_as_its_digest() -> None:
    created = create_admin_key("ci", ["usage:read", "accounts:read", "usage:read"], origin=ORIGIN)
    assert created.secret.startswith(ADMIN_PREFIX)
    assert is_well_formed(created.secret, ADMIN_PREFIX)
    assert not is_well_formed(created.secret)
    row = AdminKey.get()
    assert (row.digest, row.prefix) == (digest(created.secret), created.secret[:15] + "…")
    assert row.scopes == ["accounts:read", "usage:read"]
    assert created.secret not in repr(created)
    [entry] = AuditEntry.select()
    assert (entry.action, entry.target, entry.actor) == ("admin_key.create", str(row.id), ORIGIN.actor)
    assert entry.after == {"name": "ci", "scopes": ["accounts:read", "usage:read"], "expires_at": None}


def test_names_are_of_one_key_at_a_time() -> None:
    first = create_admin_key("ci", [ALL], origin=ORIGIN).row
    with pytest.raises(InvalidInput, match="already"):
        create_admin_key("ci", [ALL], origin=ORIGIN)
    revoked = revoke_admin_key("ci", origin=ORIGIN)
    assert revoked.revoked_at is not None
    assert revoke_admin_key(first.id, origin=ORIGIN).revoked_at == revoked.revoked_at
    second = create_admin_key("ci", [ALL], origin=ORIGIN).row
    assert find_admin_key("ci").id == second.id
    assert [row.id for row in list_admin_keys()] == [second.id, first.id]
    assert [entry.action for entry in AuditEntry.select().order_by(AuditEntry.id)] == [
        *("admin_key.create", "admin_key.revoke", "admin_key.create"),
    ]


@pytest.mark.parametrize(
    ("name", "scopes", "expires_at"),
    [("", [ALL], None), ("a\nb", [ALL], None), ("x", [], None), ("x", ["accounts"], None), ("x", [ALL], 1), ("x", [ALL], 10**15)],
)
def test_invalid_keys_are_refused(name: str, scopes: list[str], expires_at: int | None) -> None:
    with pytest.raises(InvalidInput):
        create_admin_key(name, scopes, expires_at, origin=ORIGIN)
    assert not AdminKey.select().exists()


@pytest.mark.parametrize("key", [str(UUID(int=1)), "nobody"])
def test_unknown_keys_are_not_found(key: str) -> None:
    with pytest.raises(NotFound, match="yout admin-key list"):
        revoke_admin_key(key, origin=ORIGIN)


def test_all_includes_every_scope() -> None:
    assert check_scopes([*SCOPES, ALL]) == [ALL]
    assert check_scopes(SCOPES[::-1]) == list(SCOPES)
    assert all(has_scope([ALL], scope) for scope in SCOPES)
    assert not has_scope(["accounts:write"], "accounts:read")


def test_the_last_use_is_written_once_a_minute() -> None:
    id = create_admin_key("ci", [ALL], origin=ORIGIN).row.id
    for now, stored in ((100_000, 100_000), (159_999, 100_000), (160_000, 160_000)):
        record_use(id, now)
        assert AdminKey.get_by_id(id).last_used_at == stored


def test_answers_are_repeated_for_a_day() -> None:
    key = create_admin_key("ci", [ALL], origin=ORIGIN)
    request, ran = RepeatableRequest(key.row.id, "k", b"body"), []

    def work() -> bytes:
        ran.append(1)
        return b"yout-secret"

    assert [answer_once(request, key.secret, work) for _ in range(2)] == [b"yout-secret"] * 2
    assert len(ran) == 1
    with pytest.raises(IdempotencyKeyReused):
        answer_once(request._replace(content=b"other"), key.secret, work)
    assert "yout-secret" not in AdminAnswer.get().sealed
    sweep(now_ms())
    assert AdminAnswer.select().count() == 1
    sweep(now_ms() + ANSWER_MS + 1)
    assert not AdminAnswer.select().exists()
