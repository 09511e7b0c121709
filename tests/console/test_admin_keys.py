"""The console's page of admin keys: who may use it, and secrets that are shown once."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.identity.admin_scopes import ALL, SCOPES
from shared.identity.api_key_format import ADMIN_PREFIX, digest, is_well_formed
from shared.models import AdminKey, AuditEntry
from shared.operations.accounts import create_account
from shared.operations.admin_keys import actor_of, create_admin_key
from shared.operations.audit import Origin
from tests.console.conftest import Enter
from tests.console.test_search import found
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import DESKTOP, PHONE

PATH = "/admin-keys/"


def test_a_key_is_created_shown_once_and_revoked(signed_in: Any) -> None:
    browser = signed_in("owner")
    fields = {"name": "terraform", "scopes": ["keys:write", "accounts:read"], "days": "30"}
    filled = {**browser.form(PATH, PATH), **fields}
    first, second = (browser.post(PATH, filled, follow_redirects=True).text for _ in range(2))
    secret = re.search(r'<code class="secret">([^<]+)</code>', first)[1]  # type: ignore[index]  # the page has one
    assert is_well_formed(secret, ADMIN_PREFIX)
    assert "Already shown" in second
    row = AdminKey.get()
    assert (row.name, row.scopes, row.digest) == ("terraform", ["accounts:read", "keys:write"], digest(secret))
    assert 29 * 86_400_000 < row.expires_at - now_ms() <= 30 * 86_400_000
    page = browser.get(PATH).text
    assert (row.prefix in page, secret in page, row.digest in page) == (True, False, False)
    assert row.digest not in browser.get(f"{PATH}export.csv").text
    confirm = f"{PATH}selected?action=revoke&rowid={row.id}"
    assert "1 row changed." in browser.submit_form(confirm, f"{PATH}selected/revoke").text
    assert AdminKey.get().revoked_at is not None
    entries = AuditEntry.select().where(AuditEntry.target == str(row.id)).order_by(AuditEntry.id)
    assert [entry.action for entry in entries] == ["admin_key.create", "admin_key.revoke"]
    assert {"@" in entry.actor for entry in entries} == {True}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "", "scopes": [ALL]}, "Enter a name."),
        ({"name": "x"}, "Choose at least one scope."),
        ({"name": "x", "scopes": ["everything"]}, "not a valid choice"),
        ({"name": "x", "scopes": [ALL], "days": "0"}, "Enter 1 to 36 500 days"),
        ({"name": "taken", "scopes": [ALL]}, "already"),
    ],
)
def test_invalid_keys_are_refused(signed_in: Any, fields: dict[str, Any], message: str) -> None:
    browser = signed_in("owner")
    create_admin_key("taken", [ALL], origin=ORIGIN)
    answer = browser.post(PATH, {**browser.form(PATH, PATH), **fields})
    assert (answer.status_code, message in answer.text) == (422, True)
    assert AdminKey.select().count() == 1


@pytest.mark.parametrize("role", ["billing", "support", "readonly"])
def test_only_owners_manage_keys(signed_in: Any, role: str) -> None:
    key = create_admin_key("ci", [ALL], origin=ORIGIN).row
    browser = signed_in(role)
    page = browser.get(PATH).text
    assert (key.prefix in page, 'name="scopes"' in page) == (True, False)
    token = browser.form("/", "/logout")
    assert browser.post(PATH, token).status_code == 403
    assert browser.post(f"{PATH}selected/revoke", {**token, "rowid": str(key.id)}).status_code == 403
    assert AdminKey.get().revoked_at is None


def test_a_key_is_found_by_its_id_and_prefix_and_secrets_stay_out_of_urls(signed_in: Any) -> None:
    created = create_admin_key("ci", list(SCOPES), origin=ORIGIN)
    browser = signed_in("readonly")
    for text in (str(created.row.id), created.row.prefix):
        [target] = found(browser, text)
        assert target.startswith(PATH)
    assert created.secret not in browser.get(f"/search/?q={created.secret}").headers["location"]
    browser.get(f"{PATH}export.csv?search={created.secret}", buffered=True)
    assert AuditEntry.get(AuditEntry.action == "export.admin_keys").after == {"search": created.row.prefix}


def test_the_audit_log_links_to_the_key(signed_in: Any) -> None:
    row = create_admin_key("ci", [ALL], origin=ORIGIN).row
    create_account("ada@example.com", origin=Origin(actor_of(row), "203.0.113.7"))
    browser = signed_in("readonly")
    [shown] = re.findall(rf'<a href="({PATH}[^"]*)"[^>]*>ci</a>', browser.get("/audit/?action=account.create").text)
    assert row.prefix in browser.get(unescape(shown)).text
    [link] = re.findall(r'<a href="(/audit/[^"]*)"[^>]*>ci</a>', browser.get(PATH).text)
    assert "account.create" in browser.get(unescape(link)).text


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "look", [{"viewport": DESKTOP, "scheme": "light"}, {"viewport": PHONE, "scheme": "dark"}], ids=["desk", "phone"]
)
async def test_a_key_is_created_in_a_browser(enter: Enter, axe: str, look: dict[str, Any]) -> None:
    page = await enter(PATH, **look)
    await check_page(page, axe, "console-admin-keys-none")
    await page.fill("[name=name]", "terraform")
    await page.check("[value='accounts:write']")
    await page.click("button:has-text('Create admin key')")
    await page.wait_for_url("**/admin-keys/made/*")
    await check_page(page, axe, "console-admin-keys-made")
    assert AdminKey.get().scopes == ["accounts:write"]
