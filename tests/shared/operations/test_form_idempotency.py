"""Form idempotency: the same form twice, other content with the same token, and a block that raises."""

from __future__ import annotations

import pytest

from shared.core.clock import now_ms
from shared.core.errors import AlreadySubmitted, InvalidInput
from shared.ledger.sweep import sweep
from shared.models import FORM_SECRET_MS, Account, FormSubmission
from shared.operations.accounts import adjust_credits
from shared.operations.form_idempotency import CLAIM_LIFETIME_MS, submit_once, take_shown
from tests import factories
from tests.factories import ORIGIN

TOKEN = "a-token-of-a-form-0123"
pytestmark = pytest.mark.usefixtures("bound_database")


def test_the_same_content_runs_once_and_different_content_is_rejected():
    owner = factories.account(credits=10)
    with submit_once(owner.id, TOKEN, "5"):
        adjust_credits(owner.id, 5, "x", origin=ORIGIN)
    for content, same in (("5", True), ("6", False)):
        with pytest.raises(AlreadySubmitted) as refused, submit_once(owner.id, TOKEN, content):
            adjust_credits(owner.id, 5, "x", origin=ORIGIN)
        assert refused.value.same_content == same
    assert Account.get_by_id(owner.id).balance == 15


def test_another_account_may_use_the_same_token():
    for owner in (factories.account(), factories.account()):
        with submit_once(owner.id, TOKEN, "5"):
            pass
    assert FormSubmission.select().count() == 2


def test_a_block_that_raises_leaves_no_change_and_no_claim():
    owner = factories.account(credits=10)

    def give_and_take_too_much() -> None:
        with submit_once(owner.id, TOKEN, "x"):
            adjust_credits(owner.id, 5, "x", origin=ORIGIN)
            adjust_credits(owner.id, -100, "x", origin=ORIGIN)

    with pytest.raises(InvalidInput):
        give_and_take_too_much()
    assert Account.get_by_id(owner.id).balance == 10
    assert not FormSubmission.select().exists()


def test_the_sweeper_deletes_claims_after_a_day():
    with submit_once(factories.account().id, TOKEN, "x"):
        pass
    sweep(now_ms() + CLAIM_LIFETIME_MS - 60_000)
    assert FormSubmission.select().exists()
    sweep(now_ms() + CLAIM_LIFETIME_MS + 60_000)
    assert not FormSubmission.select().exists()


SESSION = "the secret in a browser's cookie"


def submit(owner: Account, secret: str = "yout-secret") -> str:
    with submit_once(owner.id, TOKEN, "x") as form:
        form.result = "key 1"
        form.store_secret(secret, SESSION)
    return form.id


def test_a_secret_is_shown_once_to_its_session_and_stored_encrypted():
    owner = factories.account()
    id = submit(owner)
    assert "yout-secret" not in repr(list(FormSubmission.select().dicts()))
    assert take_shown(factories.account().id, id, SESSION) is None
    assert take_shown(owner.id, id, "another session") == ("key 1", None)
    assert take_shown(owner.id, id, SESSION) == ("key 1", "yout-secret")
    assert take_shown(owner.id, id, SESSION) == ("key 1", None)
    assert FormSubmission.get().sealed is None


def test_a_resubmitted_form_returns_the_first_result():
    owner = factories.account()
    id = submit(owner)
    with pytest.raises(AlreadySubmitted) as again, submit_once(owner.id, TOKEN, "x"):
        pass
    assert (again.value.id, again.value.result) == (id, "key 1")


def test_a_secret_that_was_not_shown_in_time_is_deleted(monkeypatch):
    owner = factories.account()
    id = submit(owner)
    later = now_ms() + FORM_SECRET_MS + 1_000
    with monkeypatch.context() as patched:
        patched.setattr("shared.operations.form_idempotency.now_ms", lambda: later)
        assert take_shown(owner.id, id, SESSION) == ("key 1", None)
    assert FormSubmission.get().sealed is not None
    sweep(later)
    assert FormSubmission.get().sealed is None


@pytest.mark.parametrize("token", ["", "short", "x" * 65, "\u00e9" * 20])
def test_an_invalid_token_is_rejected(token):
    with pytest.raises(InvalidInput, match="incomplete"), submit_once(factories.account().id, token, "x"):
        pass
