"""The pages of members over HTTP: the whole journey without JavaScript, roles, and ids of other accounts."""

from __future__ import annotations

import re
from uuid import UUID

from shared.core.clock import new_id
from shared.models import ApiKey, Invitation, Member, Person
from shared.operations.keys import create_key
from shared.operations.members import MemberTerms, add_member, find_member
from shared.operations.people import find_sign_in
from shared.operations.web_accounts import create_session
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.factories import ORIGIN

Terms = dict[str, str]
DEVELOPER: Terms = {"role": "developer", "monthly_credit_limit": "5000"}


def invite(owner: Browser, email: str, terms: Terms = DEVELOPER) -> str:
    """Invite an address without a mail server, and return the path of the link on the page."""
    done = owner.submit_form("/account/members/invite", {"email": email, **terms}, page="/account/members")
    page = owner.follow(done).body.decode()
    return re.findall(r"https?://[^/]+(/invitation/[\w=-]+)", page)[0]


def member_of(site: Site, owner: Browser, role: str) -> Browser:
    """A browser signed in as a new member of the owner's account."""
    assert owner.account is not None
    email = f"{new_id().hex}@example.com"
    member = add_member(owner.account.id, email, MemberTerms(role), origin=ORIGIN).member
    browser = site.browser()
    browser.account = owner.account
    Person.update(password_hash="known to nobody").where(Person.id == member.person.id).execute()
    browser.cookies[COOKIE] = create_session(member.person.id, "", password_hash="known to nobody").secret
    return browser


def without_tokens(page: bytes) -> bytes:
    """A page without its form tokens and request id."""
    return re.sub(rb'value="[\w-]{20,}"|[0-9a-f]{32}', b"", page)


def test_a_new_person_joins_calls_switches_and_leaves(site: Site) -> None:
    owner, email = site.member(), f"{new_id().hex}@example.com"
    assert owner.account is not None
    link = invite(owner, email)
    guest = site.browser()
    assert "12 characters or more" in guest.get(link).body.decode()
    assert guest.submit_form(link, {"password": "short"}).status == 422
    page = guest.follow(guest.submit_form(link, {"password": PASSWORD})).body.decode()
    assert "You are now a member of this account" in page
    assert owner.account.email in page
    assert guest.get(link).status == 404
    guest.follow(guest.submit_form("/account/keys", {"name": "laptop"}))
    member = find_member(owner.account.id, email)
    key = ApiKey.get(ApiKey.account == owner.account)
    assert (key.member, member.monthly_credit_limit) == (member.id, 5_000)

    other = site.member()
    second = invite(other, email, {"role": "viewer"})
    assert guest.submit_form(second).status == 303
    listed = guest.get("/accounts").body.decode()
    assert owner.account.email in listed
    assert other.account is not None
    assert other.account.email in listed
    assert guest.submit_form(f"/accounts/{owner.account.id}/switch", page="/accounts").status == 303
    assert "laptop" in guest.get("/account/keys").body.decode()

    left = guest.submit_form("/account/leave")
    assert left.status == 303
    assert ApiKey.get_by_id(key.id).revoked_at is not None
    assert other.account.email in guest.follow(left).body.decode()
    gone = guest.submit_form("/account/leave")
    assert gone.headers["location"].startswith("/sign-in")
    assert guest.get("/account").status == 303
    assert guest.sign_in(email).status == 303  # with an account of their own, because sign-up is open


def test_an_invited_person_with_a_login_signs_in_first(site: Site) -> None:
    owner, guest = site.member(), site.browser()
    email = guest.sign_up()
    link = invite(owner, email)
    assert "Sign in to accept" in site.browser().get(link).body.decode()
    stranger = site.member()
    assert "Sign out, then sign in with the invited address" in stranger.get(link).body.decode()
    assert stranger.submit_form(link, page="/account/keys").status == 200
    assert guest.submit_form(link).status == 303
    assert owner.account is not None
    found = find_sign_in(email)
    assert found is not None
    assert Member.get((Member.account == owner.account) & (Member.person == found.person)).role == "developer"


def test_each_role_sees_and_does_what_it_may(site: Site) -> None:
    owner = site.member()
    assert owner.account is not None
    own = create_key(owner.account.id, "of the owner", origin=ORIGIN).row
    expected = {
        "admin": {"/account": 200, "/account/keys": 200, "/account/members": 200, "/account/media": 200, "/account/data": 403},
        "billing": {"/account": 200, "/account/keys": 403, "/account/members": 200, "/account/media": 403, "/account/data": 403},
        "developer": {
            "/account": 200,
            "/account/keys": 200,
            "/account/members": 200,
            "/account/media": 200,
            "/account/data": 403,
        },
        "viewer": {"/account": 200, "/account/keys": 403, "/account/members": 200, "/account/media": 403, "/account/data": 403},
    }
    for role, pages in expected.items():
        browser = member_of(site, owner, role)
        assert {path: browser.get(path).status for path in pages} == pages, role
        assert browser.get(f"/account/keys/{own.id}/edit").status == {"admin": 200, "developer": 404}.get(role, 403)
        token = {"csrf_token": browser.token("/account/members")}
        invitation = browser.submit_form(
            "/account/members/invite", {**token, "email": f"{role}@example.com", "role": "viewer"}, page="/account/members"
        )
        assert invitation.status == (303 if role == "admin" else 403)
        redeemed = browser.submit_form("/account/redeem", {**token, "code": "no such code"}, page="/account/members")
        assert redeemed.status == (422 if role in ("admin", "billing") else 403)
        assert browser.submit_form("/account/close", {"confirmation": "x"}, page="/account/members").status == 403
        assert browser.get("/api/usage/?by=member", {"accept": "application/json"}).status == 200


def test_an_admin_changes_suspends_and_removes_members_but_not_the_owner(site: Site) -> None:
    owner = site.member()
    admin, developer = member_of(site, owner, "admin"), member_of(site, owner, "developer")
    assert owner.account is not None
    row = Member.get((Member.account == owner.account) & (Member.role == "developer"))
    path, page = f"/account/members/{row.id}", "/account/members"
    wrong = admin.submit_form(path, {"role": "viewer", "monthly_credit_limit": "many"})
    assert (wrong.status, b"whole numbers" in wrong.body) == (422, True)
    assert admin.submit_form(path, {"role": "developer", "daily_credit_limit": "10 000"}).status == 303
    assert Member.get_by_id(row.id).daily_credit_limit == 10_000
    assert admin.submit_form(f"{path}/suspend", page=page).status == 303
    assert b"Your membership in this account is suspended" in developer.get("/account").body
    assert developer.get("/accounts").status == 200
    assert admin.submit_form(f"{path}/resume", page=page).status == 303
    assert developer.get("/account").status == 200
    assert admin.submit_form(f"{path}/transfer", {"password_now": "x"}, page=page).status == 403
    assert admin.submit_form(f"{path}/remove", page=page).status == 303
    assert developer.get("/account").status == 303
    owners = f"/account/members/{owner.account.id}"
    for action, status in (("", 422), ("/suspend", 422), ("/remove", 422)):
        assert admin.submit_form(f"{owners}{action}", {"role": "viewer"}, page=page).status == status
    assert Member.get_by_id(owner.account.id).role == "owner"


def test_ids_of_another_account_are_as_unknown_as_random_ones(site: Site) -> None:
    owner, stranger = site.member(), site.member()
    assert owner.account is not None
    member_of(site, owner, "developer")
    link = invite(owner, f"{new_id().hex}@example.com")
    assert link
    member = Member.get((Member.account == owner.account) & (Member.role == "developer"))
    key = create_key(owner.account.id, "k", member=member.id, origin=ORIGIN).row
    invitation = Invitation.get(Invitation.account == owner.account)

    def answers(path: str, method: str, id: UUID) -> tuple[int, bytes]:
        reply = stranger.get(path.format(id)) if method == "GET" else stranger.submit_form(path.format(id), page="/account/keys")
        return reply.status, reply.body.replace(str(id).encode(), b"ID")

    for id, paths in (
        (member.id, ("GET /account/members/{}", "POST /account/members/{}/remove", "POST /account/members/{}/suspend")),
        (invitation.id, ("POST /account/members/invitations/{}/revoke", "POST /account/members/invitations/{}/resend")),
        (key.id, ("GET /account/keys/{}/edit", "POST /account/keys/{}/revoke")),
        (owner.account.id, ("POST /accounts/{}/switch",)),
    ):
        for line in paths:
            method, _, path = line.partition(" ")
            (status, body), (_, random) = answers(path, method, id), answers(path, method, new_id())
            assert status == 404, line
            assert without_tokens(body) == without_tokens(random), line
