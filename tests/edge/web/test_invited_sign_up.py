"""Sign-up by invitation: of staff to an account of one's own, and of members to theirs; and sign-up turned off."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import new_id
from shared.models import Account, Person
from shared.operations.account_invitations import invite_to_account
from shared.operations.invitations import invitation_token, invite
from shared.operations.members import MemberTerms, add_member
from tests.edge.web.conftest import PASSWORD, Browser, MailSite, Site
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


def invitation_to(email: str, host: Account) -> str:
    row = invite(host.id, email, MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    return f"/invitation/{invitation_token(row, SECRET_KEY)}"


def accept(site: Site, path: str, **settings: Any) -> tuple[int, Browser]:
    browser = site.browser(**settings)
    token = browser.token("/sign-in")
    return browser.post(path, f"csrf_token={token}&password={PASSWORD}".encode()).status, browser


@pytest.mark.parametrize("mode", ["invitation", "off"])
def test_an_invitation_of_staff_leads_to_an_account_with_credits_for_a_proven_address(mail_site: MailSite, mode: str) -> None:
    email = f"{new_id().hex}@example.com"
    account = invite_to_account(email, 100, sign_up_credits=500, origin=ORIGIN)
    assert (account.balance, account.email_verified_at) == (100, None)
    path, owner = mail_site.link(), mail_site.site.browser(**mail_site.settings, sign_up=mode)
    assert email.encode() in owner.get(path).body
    assert owner.submit_form(path, {"password": "short"}).status == 422
    assert Account.get_by_id(account.id).balance == 100
    assert owner.submit_form(path, {"password": PASSWORD}).status == 303
    row = Account.get_by_id(account.id)
    assert (row.balance, row.pending_credits, row.email_verified_at is not None) == (600, 0, True)
    assert owner.get(path).status == 404
    assert owner.get("/account").status == 200


def test_an_account_with_a_password_needs_no_invitation(mail_site: MailSite) -> None:
    account = invite_to_account(f"{new_id().hex}@example.com", origin=ORIGIN)
    Account.update(password_hash="x").where(Account.id == account.id).execute()
    mail_site.send()
    assert not mail_site.server.mails


def test_members_invite_new_people_unless_sign_up_is_off(site: Site) -> None:
    host = site.member().account
    assert host is not None
    new, other, known = (f"{new_id().hex}@example.com" for _ in range(3))
    status, browser = accept(site, invitation_to(new, host), sign_up="invitation")
    assert (status, browser.get("/account").status) == (303, 200)

    path = invitation_to(other, host)
    assert b"Sign-up is closed" in site.browser(sign_up="off").get(path).body
    assert accept(site, path, sign_up="off")[0] == 403
    assert not Person.select().where(Person.email == other).exists()

    member = site.browser(sign_up="off")
    member.cookies = site.member(known).cookies
    assert member.submit_form(invitation_to(known, host)).status == 303  # they have a login


def test_domains_limit_whom_members_invite_as_new_people(site: Site) -> None:
    host = site.member().account
    assert host is not None
    settings = {"sign_up": "invitation", "sign_up_domains": ("corp.example",), "oidc_issuer": "http://127.0.0.1:9"}
    settings |= {"oidc_client_id": "a", "oidc_client_secret": "b"}
    inside, outside = f"{new_id().hex}@corp.example", f"{new_id().hex}@else.example"
    assert accept(site, invitation_to(inside, host), **settings)[0] == 303
    assert accept(site, invitation_to(outside, host), **settings)[0] == 422
    assert accept(site, invitation_to(f"{new_id().hex}@else.example", host), **settings | {"sign_up": "open"})[0] == 303
    add_member(host.id, outside, MemberTerms("viewer"), origin=ORIGIN)  # staff and operators may
