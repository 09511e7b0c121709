"""Staff sign in through a real OpenID provider: who is admitted, with which role, and without a password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from console.app import create_app
from shared.core.clock import new_id
from shared.core.settings import Settings
from shared.models import AuditEntry, StaffIdentity, StaffSession, StaffUser
from shared.operations.staff import create_staff
from shared.operations.staff_identities import role_of
from tests.conftest import OpenPage, StartWeb
from tests.console.conftest import PASSWORD, Browser
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from tests.servers.process import free_port

ROLES = "admins=owner,money=billing,desk=support"
only_sqlite = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(tmp_path_factory.mktemp("openid"))
    yield made
    made.process.kill()


@pytest.fixture
def settings(provider: OpenIdProvider) -> dict[str, Any]:
    registration = {"staff_oidc_client_id": CLIENT_ID, "staff_oidc_client_secret": CLIENT_SECRET}
    return {"staff_oidc_issuer": provider.url, **registration}


@pytest.fixture
def visit(bound_database: Any, make_settings: Callable[..., Settings], settings: dict[str, Any]) -> Callable[..., Browser]:
    """`visit(staff_oidc_roles="…")`: a signed-out browser of a console with these settings."""

    def make(**more: Any) -> Browser:
        return Browser(create_app(make_settings(edge_port=free_port(), **settings, **more)).test_client())

    return make


def sign_in(browser: Browser, provider: OpenIdProvider, subject: str, path: str = "/login/oidc") -> Any:
    begun = browser.get(path)
    assert begun.status_code == 303, begun.text
    return browser.get(provider.approve(begun.location, subject))


def subject(provider: OpenIdProvider, email: str, *, verified: bool = True, groups: list[str] | None = None) -> str:
    name = new_id().hex
    provider.set_user(name, email=email, email_verified=verified, **({"groups": groups} if groups is not None else {}))
    return name


@pytest.mark.parametrize(
    ("groups", "role"),
    [(["desk"], "support"), (["desk", "admins"], "owner"), (["money", "desk"], "billing"), (["Admins"], None), ([], None)],
)
def test_the_group_with_the_most_rights_decides(groups: list[str], role: str | None) -> None:
    assert role_of(groups, ROLES.split(",")) == role
    assert role_of(["cn=a,dc=b"], ["cn=a,dc=b=owner"]) == "owner"


def test_staff_are_linked_by_their_verified_address(visit: Callable[..., Browser], provider: OpenIdProvider) -> None:
    person = create_staff("ida@yout.example", "support", PASSWORD, origin=ORIGIN)[0]
    browser, name = visit(), subject(provider, "Ida@yout.example")

    assert sign_in(browser, provider, name, "/login/oidc?next=/usage/").location == "/usage/"
    assert person.email in browser.get("/me/").text
    provider.set_user(name, email="moved@yout.example", email_verified=False)
    assert sign_in(visit(), provider, name).location == "/"
    assert StaffUser.get_by_id(person.id).role == "support"
    assert StaffSession.select().count() == 2
    assert AuditEntry.select().where(AuditEntry.action == "staff.connect").count() == 1

    for email, verified, message in (
        ("ida@yout.example", False, "has verified"),
        ("eve@yout.example", True, "no staff member eve@yout.example"),
    ):
        refused = sign_in(visit(), provider, subject(provider, email, verified=verified))
        assert refused.status_code == 403
        assert message in refused.text
    StaffUser.update(status="disabled").execute()
    assert "disabled" in sign_in(visit(), provider, name).text


@only_sqlite
def test_groups_decide_about_roles(visit: Callable[..., Browser], provider: OpenIdProvider) -> None:
    name = subject(provider, "ida@yout.example", groups=["desk"])
    assert sign_in(visit(staff_oidc_roles=ROLES), provider, name).location == "/"
    person = StaffUser.get()
    assert (person.email, person.role, person.password_hash) == ("ida@yout.example", "support", "")

    provider.set_user(name, email="ida@yout.example", email_verified=True, groups=["admins", "all"])
    sign_in(visit(staff_oidc_roles=ROLES), provider, name)
    assert StaffUser.get().role == "owner"
    provider.set_user(name, email="ida@yout.example", email_verified=True, groups=["all"])
    refused = sign_in(visit(staff_oidc_roles=ROLES), provider, name)
    assert (refused.status_code, "None of your groups" in refused.text) == (403, True)
    changes = [entry.after for entry in AuditEntry.select().where(AuditEntry.action == "staff.role")]
    assert changes == [{"role": "owner"}]
    assert visit().sign_in("ida@yout.example", "").status_code == 422
    assert visit().sign_in("ida@yout.example").status_code == 403


@only_sqlite
def test_a_flow_works_once_in_its_browser(visit: Callable[..., Browser], provider: OpenIdProvider) -> None:
    create_staff("ida@yout.example", "owner", PASSWORD, origin=ORIGIN)
    browser, name = visit(), subject(provider, "ida@yout.example")
    back = provider.approve(browser.get("/login/oidc?next=https://evil.example/").location, name)

    assert visit().get(back).status_code == 403
    assert browser.get(back).location == "/"
    assert browser.get(back).status_code == 403
    assert browser.get("/login/oidc?next=//evil.example").location == "/"


@only_sqlite
def test_a_second_factor_is_asked_for_here_too(visit: Callable[..., Browser], provider: OpenIdProvider) -> None:
    create_staff("ida@yout.example", "owner", PASSWORD, origin=ORIGIN)
    StaffUser.update(sealed_totp="sealed").execute()
    assert sign_in(visit(), provider, subject(provider, "ida@yout.example")).location == "/login/code"
    assert StaffSession.select().count() == 0


@only_sqlite
def test_passwords_can_be_turned_off(visit: Callable[..., Browser], provider: OpenIdProvider) -> None:
    create_staff("ida@yout.example", "owner", PASSWORD, origin=ORIGIN)
    browser = visit(staff_oidc_required=True)
    page = browser.get("/login")
    assert 'type="password"' not in page.text
    assert browser.post("/login", {"email": "ida@yout.example", "password": PASSWORD}).status_code in (400, 403)
    assert StaffSession.select().count() == 0
    assert visit(staff_oidc_required=False).get("/login").text.count('type="password"') == 1


@only_sqlite
async def test_a_walk_in_a_browser(
    bound_database: Any,
    any_database_url: str,
    settings: dict[str, Any],
    provider: OpenIdProvider,
    start_console: StartWeb,
    open_page: OpenPage,
    axe: str,
) -> None:
    name = subject(provider, "ida@yout.example", groups=["admins"])
    console = start_console(database_url=any_database_url, staff_oidc_roles=ROLES, staff_oidc_required=True, **settings)
    page = await open_page(viewport=PHONE, javascript=False)
    await page.goto(f"{console.url}/usage/")
    await page.click("text=Continue with 127.0.0.1")
    await page.fill("input[name=sub]", name)
    await page.click("button:has-text('Authorize')")
    await expect(page).to_have_url(f"{console.url}/usage/")

    desk = await open_page()
    await desk.context.add_cookies(await page.context.cookies())  # type: ignore[arg-type]  # Playwright's types differ
    await desk.goto(f"{console.url}/me/")
    await expect(desk.locator("h2:text-is('Set a password')")).to_be_visible()
    await check_page(desk, axe, "console-me-without-password")
    await desk.goto(f"{console.url}/staff/{StaffUser.get().id}")
    await check_page(desk, axe, "console-staff-identity")
    await desk.click("text=Disconnect identities")
    await expect(desk.locator(".flash")).to_contain_text("can no longer sign in")
    assert StaffIdentity.select().count() == 0
    await desk.click("text=Sign out >> nth=0")
    await check_page(desk, axe, "console-sign-in-openid")
    desk.problems.clear()  # type: ignore[attr-defined]  # the provider's page names a style sheet of another host
