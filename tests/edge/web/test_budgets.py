"""The pages of budgets and of optional emails, without JavaScript."""

from __future__ import annotations

from shared.core.clock import new_id, now_ms
from shared.models import Budget, Person
from shared.operations.budgets import BudgetTerms, create_budget
from tests import factories
from tests.edge.web.conftest import Site
from tests.edge.web.test_members import member_of
from tests.factories import ORIGIN

FORM = {"credits": "1 000", "percents": "80 %, 100", "email": "on", "period": "month"}


def test_an_owner_creates_changes_and_deletes_budgets(site: Site) -> None:
    owner = site.member()
    assert owner.account is not None
    account = owner.account.id
    key, _ = factories.api_key(owner.account, name="laptop")
    page = "/account/budgets"
    for target, more in (
        ("account", {}),
        (f"key:{key.id}", {}),
        (f"member:{account}", {}),
        ("tag", {"tag": "docs"}),
        ("balance", {}),
    ):
        made = owner.submit_form(page, {**FORM, "applies_to": target, **more})
        assert made.status == 303, made.body
    rows = list(Budget.select().where(Budget.account == account).order_by(Budget.id))
    assert [row.scope for row in rows] == ["account", "key", "member", "tag", "balance"]
    assert (rows[0].credits, rows[0].percents, rows[4].period) == (1_000, [80, 100], "none")
    Budget.update(spent=850, spent_at=now_ms()).where(Budget.id == rows[0].id).execute()
    shown = owner.get(page).body.decode()
    for text in ("API key laptop", "Tag docs", owner.account.email, "(85 %)", "below 1\u202f000 credits", "never stops a call"):
        assert text in shown
    wrong = owner.submit_form(page, {**FORM, "applies_to": "account", "credits": "many", "webhook_url": "https://a.example/"})
    assert (wrong.status, "must be whole numbers" in wrong.body.decode(), b"https://a.example/" in wrong.body) == (
        422,
        True,
        True,
    )
    refused = owner.submit_form(page, {**FORM, "applies_to": "account", "webhook_url": "http://10.0.0.1/"})
    assert (refused.status, b"is not allowed" in refused.body) == (422, True)
    one = f"{page}/{rows[0].id}"
    assert owner.submit_form(one, {**FORM, "credits": "2000"}).status == 303
    assert Budget.get_by_id(rows[0].id).credits == 2_000
    assert owner.submit_form(f"{one}/delete", {}, page=one).status == 303
    assert owner.get(one).status == 404
    balance = f"{page}/{rows[4].id}"
    assert owner.submit_form(balance, {"credits": "5", "percents": "100", "email": "on"}).status == 303


def test_roles_and_other_accounts(site: Site) -> None:
    owner, other = site.member(), site.member()
    assert other.account is not None
    foreign = create_budget(other.account.id, "account", "", "month", BudgetTerms(5), origin=ORIGIN).id
    for id in (foreign, new_id()):
        assert owner.get(f"/account/budgets/{id}").status == 404
    for role, status in (("billing", 200), ("admin", 200), ("developer", 403), ("viewer", 403)):
        member = member_of(site, owner, role)
        assert member.get("/account/budgets").status == status
        assert (b'href="/account/budgets"' in member.get("/account").body) == (status == 200)


def test_a_person_turns_optional_emails_off(site: Site) -> None:
    owner = site.member()
    assert owner.account is not None
    page = owner.get("/account/emails").body.decode()
    assert page.count(" checked") == 4
    assert owner.submit_form("/account/emails", {"kind": "budget"}).status == 303
    assert Person.get_by_id(owner.account.id).muted_mails == ["key_expiring", "low_balance", "receipt"]
    assert owner.get("/account/emails").body.decode().count(" checked") == 1
    viewer = member_of(site, owner, "viewer")
    assert viewer.get("/account/emails").status == 200
