"""Access control: every route in the URL map against every role and against visitors."""

from __future__ import annotations

from uuid import UUID

import pytest
from flask import Flask
from werkzeug.routing import Rule

from console.security.access_control import PUBLIC_ENDPOINTS, SAFE_METHODS
from console.security.roles import ACTIONS, is_allowed, is_self_service, view_action
from shared.models import STAFF_ROLES, AuditEntry, LedgerEntry
from tests import factories
from tests.console.conftest import Browser

NOBODY = UUID(int=7)
SAMPLES = {"UUIDConverter": str(NOBODY), "PathConverter": "no-such", "UnicodeConverter": "no-such", "IntegerConverter": 7}


def address(app: Flask, rule: Rule) -> str:
    values = {name: SAMPLES[type(converter).__name__] for name, converter in rule._converters.items()}
    built = rule.build(values, append_unknown=False)
    assert built is not None
    return built[1]


def changing(app: Flask) -> list[Rule]:
    return [rule for rule in posts(app) if not is_self_service(app.view_functions[rule.endpoint])]


def posts(app: Flask) -> list[Rule]:
    return [rule for rule in app.url_map.iter_rules() if rule.methods - SAFE_METHODS and rule.endpoint not in PUBLIC_ENDPOINTS]


def test_every_page_redirects_visitors_to_sign_in(app, browser):
    checked = 0
    for rule in app.url_map.iter_rules():
        if rule.endpoint in PUBLIC_ENDPOINTS or not rule.methods & {"GET"}:
            continue
        answer = browser.get(address(app, rule))
        assert (answer.status_code, answer.location.startswith("/login")) == (303, True), rule
        checked += 1
    assert checked > 12


def test_an_unknown_path_redirects_visitors_to_sign_in(browser):
    assert browser.get("/no/such/page").location == "/login?next=/no/such/page"


def test_a_visitor_changes_nothing_even_with_a_valid_csrf_token(app, browser):
    token = browser.form("/login")
    for rule in posts(app):
        assert browser.post(address(app, rule), token).location == "/login"
    assert not AuditEntry.select().exists()


def test_every_form_requires_its_csrf_token(app, signed_in):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    browser = signed_in("owner")
    entries = AuditEntry.select().count()
    for rule in posts(app):
        answer = browser.post(address(app, rule), {"csrf_token": "made up"})
        assert (answer.status_code, "Form rejected" in answer.text) == (400, True), rule
    assert AuditEntry.select().count() == entries


def test_every_post_route_has_an_action_in_the_permission_matrix(app):
    actions = {view_action(app.view_functions[rule.endpoint]) for rule in changing(app)}
    assert actions == set(ACTIONS)


@pytest.mark.parametrize("role", STAFF_ROLES)
def test_each_role_has_exactly_the_permissions_of_the_matrix(app, signed_in, role):
    browser = signed_in(role)
    token = {"csrf_token": browser.form("/", "/logout")["csrf_token"]}
    for rule in changing(app):
        action = view_action(app.view_functions[rule.endpoint])
        answer = browser.post(address(app, rule), token)
        # The sample rows do not exist and forms are empty, so an allowed request ends as 200, 404 or 422.
        assert answer.status_code in ((200, 404, 422) if is_allowed(role, action) else (403,)), (role, rule)


def test_readonly_has_no_actions_and_unknown_actions_are_denied():
    assert not any(is_allowed("readonly", action) for action in ACTIONS)
    assert not any(is_allowed(role, "staff.create") for role in STAFF_ROLES)


def test_a_post_route_without_an_action_is_denied_even_to_owners(app, signed_in):
    app.add_url_rule("/careless", "careless", lambda: "done", methods=["POST"])
    browser = signed_in("owner")
    answer = browser.post("/careless", browser.form("/", "/logout"))
    assert answer.status_code == 403


def test_readonly_sees_pages_without_buttons_and_posts_are_rejected(signed_in):
    account = factories.account(credits=500)
    browser = signed_in("readonly")
    page = f"/accounts/{account.id}"
    assert f"{page}/credits" not in browser.get(page).text
    answer = browser.post(f"{page}/credits", {**browser.form("/", "/logout"), "amount": "5", "reason": "x", "token": "t" * 20})
    assert answer.status_code == 403
    assert "readonly" in answer.text
    assert LedgerEntry.select().count() == 1


def test_health_requires_no_sign_in(browser: Browser):
    answer = browser.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
