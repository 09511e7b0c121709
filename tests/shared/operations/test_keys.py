"""API keys: the secret is returned once, only its digest is stored, and revocation is permanent."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.identity.api_key_format import digest, is_well_formed
from shared.models import Account, ApiKey, AuditEntry
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.keys import KeyOptions, create_key, revoke_key
from tests import factories

ORIGIN = Origin("operator:test")
UNKNOWN = "01890000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def account(bound_database: Any) -> Account:
    return create_account("ada@example.com", origin=ORIGIN)


def test_the_secret_is_in_no_row(account: Account) -> None:
    created = create_key("ada@example.com", "laptop", origin=ORIGIN)
    assert is_well_formed(created.secret)
    row = ApiKey.get(ApiKey.digest == digest(created.secret))
    assert (row.id, row.account_id, row.name) == (created.row.id, account.id, "laptop")
    kept = [*AuditEntry.select().dicts(), *ApiKey.select().dicts()]
    assert created.secret not in repr(kept)
    assert created.secret not in repr(created)


def test_limits_models_and_networks_are_stored_normalized() -> None:
    factories.model("m-1")
    created = create_key(
        "ada@example.com",
        "limited",
        KeyOptions(
            rpm=5, tpm=1_000, concurrency=2, allowed_models=["m-1", "m-1"], allowed_ips=["192.0.2.7", "10.1.2.3/8", "2001:db8::1"]
        ),
        origin=ORIGIN,
    )
    row = ApiKey.get_by_id(created.row.id)
    assert (row.rpm, row.tpm, row.concurrency) == (5, 1_000, 2)
    assert row.allowed_models == ["m-1"]
    assert row.allowed_ips == ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::1/128"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rpm": 0}, "rpm"),
        ({"tpm": -1}, "tpm"),
        ({"concurrency": 2.0}, "concurrency"),
        ({"expires_at": 1}, "must be in the future"),
        ({"expires_at": 10**20}, "never expire"),
        ({"allowed_models": []}, "allow no"),
        ({"allowed_models": ["unheard-of"]}, "No model 'unheard-of'"),
        ({"allowed_ips": []}, "allow no"),
        ({"allowed_ips": ["localhost"]}, "such as 10.0.0.0/8"),
    ],
)
def test_a_key_that_could_never_work_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_key("ada@example.com", "test", KeyOptions(**options), origin=ORIGIN)
    assert ApiKey.select().count() == 0


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_a_key_requires_a_printable_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="name of the key"):
        create_key("ada@example.com", name, origin=ORIGIN)


def test_a_key_may_expire_in_the_future() -> None:
    end = now_ms() + 60_000
    assert create_key("ada@example.com", "short", KeyOptions(expires_at=end), origin=ORIGIN).row.expires_at == end


def test_a_closed_account_cannot_create_keys(account: Account) -> None:
    Account.update(status="closed").where(Account.id == account.id).execute()
    with pytest.raises(InvalidInput, match="closed"):
        create_key("ada@example.com", "test", origin=ORIGIN)


def test_revoking_twice_keeps_the_first_time() -> None:
    key = create_key("ada@example.com", "test", origin=ORIGIN).row
    first = revoke_key(str(key.id), origin=ORIGIN)
    ApiKey.update(revoked_at=first.revoked_at - 1_000).where(ApiKey.id == key.id).execute()
    assert revoke_key(key.id, origin=ORIGIN).revoked_at == first.revoked_at - 1_000
    assert AuditEntry.select().where(AuditEntry.action == "key.revoke").count() == 1


@pytest.mark.parametrize("key_id", [UNKNOWN, "not-an-id"])
def test_an_unknown_key_is_not_found(key_id: str) -> None:
    with pytest.raises(NotFound):
        revoke_key(key_id, origin=ORIGIN)
