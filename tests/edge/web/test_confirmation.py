"""Every change of how a person signs in, and what it requires of one who has a password and a second factor."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pyotp
import pytest

from edge.identity.route_permissions import NEEDS
from shared.core.clock import new_id, now_ms
from shared.models import Member, PersonIdentity, PersonPasskey, PersonRecoveryCode, WebSession
from shared.operations.members import MemberTerms, join
from shared.operations.second_factor import PEOPLE, new_secret
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import PASSWORD, Site
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY

only_sqlite = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
SECURITY, SESSIONS = "/account/security", "/account/sessions"
NEW = PASSWORD + "2"


class Change(NamedTuple):
    """A form: the page that has it, the name of its field for the password, and the other fields."""

    page: str
    password: str = "password"
    fields: dict[str, str] = {}
    done: int = 303


CHANGES = {
    "/account/password": Change(SESSIONS, "current", {"password": NEW}),
    "/account/email": Change(SESSIONS, "password_now", {"email": "new@example.com", "again": "new@example.com"}),
    "/account/identities/connect": Change(SECURITY, done=503),  # the provider of this test does not respond
    "/account/identities/<identity_id>/disconnect": Change(SECURITY),
    "/account/passkeys": Change(SECURITY, fields={"credential": "{}"}, done=422),  # confirmed, but not a passkey
    "/account/passkeys/<passkey_id>/remove": Change(SECURITY),
    "/account/second-factor/off": Change(SECURITY),
    "/account/second-factor/recovery-codes": Change(SECURITY, done=200),
    "/account/members/<member_id>/transfer": Change("/account/members", "password_now"),
}
# Setting up the second factor has its own test: the code is that of the new device.
OTHERS = {
    *("/account/second-factor", "/account/emails", "/account/leave", "/accounts/<account_id>/switch"),
    *("/account/sessions/<digest>/end", "/sign-out-everywhere", "/account/email/cancel"),
}


def test_the_table_has_every_form_of_a_person() -> None:
    forms = {route.removeprefix("POST ") for route, need in NEEDS.items() if need == "self" and route.startswith("POST ")}
    assert CHANGES.keys() | OTHERS == forms | {"/account/members/<member_id>/transfer"}
    assert not CHANGES.keys() & OTHERS


class Protected:
    """A signed-in person with a password, a second factor, an identity and a passkey, and a member of their account."""

    def __init__(self, site: Site) -> None:
        self.browser = site.browser(oidc_issuer="http://127.0.0.1:9", oidc_client_id="a", oidc_client_secret="b")
        self.email = self.browser.sign_up()
        self.person = site.account(self.email).id
        self.identity = PersonIdentity.create(person=self.person, issuer="i", subject=self.email, email=self.email)
        self.passkey = PersonPasskey.create(person=self.person, credential=self.email, public_key=b"k", sign_count=0, name="x")
        other = PEOPLE.people.create(email=f"{new_id().hex}@example.com")
        self.member = join(self.person, other.id, MemberTerms("developer"), origin=ORIGIN)
        secret = new_secret()
        code = pyotp.TOTP(secret).now()
        self.codes = PEOPLE.enroll(self.person, secret, code, secret_key=SECRET_KEY, origin=ORIGIN)

    def state(self) -> tuple[Any, ...]:
        """What a change would change."""
        row = PEOPLE.people.get_by_id(self.person)
        identities = PersonIdentity.select().where(PersonIdentity.person == self.person).count()
        passkeys = PersonPasskey.select().where(PersonPasskey.person == self.person).count()
        own = (Member.person == self.person) & (Member.role == "owner")
        digests = {row.digest for row in PersonRecoveryCode.select().where(PersonRecoveryCode.used_at.is_null())}
        return row.email, row.password_hash, row.sealed_totp, identities, passkeys, digests, Member.select().where(own).count()

    def submit(self, path: str, fields: dict[str, str]) -> Reply:
        change = CHANGES[path]
        for name, row in (("identity_id", self.identity), ("passkey_id", self.passkey), ("member_id", self.member)):
            path = path.replace(f"<{name}>", str(row.id))
        host = {"host": f"localhost:{self.browser.port}", "origin": f"http://localhost:{self.browser.port}"}
        page = self.browser.get(change.page, host).body.decode()
        challenges = re.findall(r'name="challenge" value="([^"]+)"', page)
        shown = {"challenge": challenges[0]} if challenges else {}
        return self.browser.submit_form(path, shown | change.fields | fields, page=change.page, headers=host)


@only_sqlite
@pytest.mark.parametrize("path", CHANGES)
def test_a_change_requires_the_password_and_a_code(site: Site, path: str) -> None:
    protected, change = Protected(site), CHANGES[path]
    before, code = protected.state(), protected.codes[0]
    password = {change.password: PASSWORD}
    refused = (
        ({}, "Incorrect password."),
        ({"code": code}, "Incorrect password."),
        (password, "The code is incorrect"),
        (password | {"code": "000000"}, "The code is incorrect"),
    )
    for fields, words in refused:
        reply = protected.submit(path, fields)
        assert (reply.status, words in reply.body.decode()) == (422, True), (fields, reply.body.decode())
        assert protected.state() == before

    done = protected.submit(path, password | {"code": code})
    assert done.status == change.done, done.body.decode()
    assert "The code is incorrect" not in done.body.decode()
    if change.done == 422:
        assert "The passkey could not be verified" in done.body.decode()
    assert protected.state() != before


@only_sqlite
def test_a_fresh_sign_in_stands_in_for_the_password_but_not_for_the_code(site: Site) -> None:
    protected = Protected(site)
    PEOPLE.people.update(password_hash=None).where(PEOPLE.people.id == protected.person).execute()
    account = site.account(protected.email)
    account.password_hash = None
    account.save()
    before, path = protected.state(), "/account/passkeys/<passkey_id>/remove"
    assert "The code is incorrect" in protected.submit(path, {}).body.decode()
    WebSession.update(created_at=now_ms() - 11 * 60_000).where(WebSession.account == account.id).execute()
    assert "Sign out and in again" in protected.submit(path, {"code": protected.codes[0]}).body.decode()
    assert protected.state() == before
    WebSession.update(created_at=now_ms()).where(WebSession.account == account.id).execute()
    assert protected.submit(path, {"code": protected.codes[0]}).status == 303


@only_sqlite
def test_a_short_new_password_uses_up_no_code(site: Site) -> None:
    protected = Protected(site)
    before = protected.state()
    short = protected.submit("/account/password", {"current": PASSWORD, "code": protected.codes[0], "password": "short"})
    assert short.status == 422
    assert protected.state() == before
