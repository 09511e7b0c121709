"""Once: the same form twice, another content under the same token, and a block that fails."""

from __future__ import annotations

import pytest

from shared.clock import now_ms
from shared.errors import IdempotencyConflict, InvalidInput, NotFound
from shared.ledger.sweep import sweep
from shared.models import Account, IdempotencyClaim
from shared.operations.accounts import grant_credits
from shared.operations.once import REMEMBERED_MS, once
from tests import build

pytestmark = pytest.mark.usefixtures("bound_database")


def test_the_same_content_runs_once_and_another_is_refused():
    owner = build.account(credits=10)
    with once(owner.id, "token", "5"):
        grant_credits(owner.id, 5, "x", actor="test")
    for content, kind in (("5", "key_used"), ("6", "key_reused")):
        with pytest.raises(IdempotencyConflict) as refused, once(owner.id, "token", content):
            grant_credits(owner.id, 5, "x", actor="test")
        assert refused.value.kind == kind
    assert Account.get_by_id(owner.id).balance == 15


def test_another_account_may_use_the_same_token():
    for owner in (build.account(), build.account()):
        with once(owner.id, "token", "5"):
            pass
    assert IdempotencyClaim.select().count() == 2


def test_a_block_that_raises_leaves_neither_change_nor_claim():
    owner = build.account(credits=10)

    def give_and_take_too_much() -> None:
        with once(owner.id, "token", "x"):
            grant_credits(owner.id, 5, "x", actor="test")
            grant_credits(owner.id, -100, "x", actor="test")

    with pytest.raises(InvalidInput):
        give_and_take_too_much()
    assert Account.get_by_id(owner.id).balance == 10
    assert not IdempotencyClaim.select().exists()


def test_an_unknown_account_is_refused_by_the_operation():
    unknown = build.account().id.__class__(int=9)
    with pytest.raises(NotFound), once(unknown, "token", "x"):
        grant_credits(unknown, 5, "x", actor="test")


def test_the_sweeper_forgets_a_claim_after_its_day():
    with once(build.account().id, "token", "x"):
        pass
    sweep(now_ms() + REMEMBERED_MS - 60_000)
    assert IdempotencyClaim.select().exists()
    sweep(now_ms() + REMEMBERED_MS + 60_000)
    assert not IdempotencyClaim.select().exists()
