"""Text that PostgreSQL cannot store (NUL) is rejected with the name of its field, on every route."""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.web.conftest import Browser, Site

pytestmark = pytest.mark.parametrize("running_site", ["postgresql"], indirect=True)
FORMS = [
    ("/sign-in", "email"),
    ("/sign-in", "password"),
    ("/sign-up", "email"),
    ("/account/keys", "name"),
    ("/account/keys", "allowed_models"),
    ("/account/redeem", "code"),
    ("/account/password", "current"),
    ("/account/purge", "confirmation"),
    ("/account/media", "prompt"),
]
QUERIES = [
    "/sign-in?next=%00",
    "/account/usage?model=%00",
    "/calls.csv?tag=a%00",
    "/account/media?after=%00",
    "/docs?q=%00",
]
CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("/api/chat/keys/", {"name": "a\0b"}, "name"),
    ("/api/chat/keys/", {"name": "a", "allowed_models": ["\0"]}, "allowed_models"),
    ("/api/chat/share/", {"title": "a\0", "messages": [{"role": "user", "content": "x"}]}, "title"),
    ("/api/chat/share/", {"title": "a", "conversation_id": "\0"}, "conversation_id"),
    ("/api/budgets/", {"scope": "tag", "target": "a\0b", "period": "month", "credits": 5}, "target"),
    ("/api/budgets/", {"scope": "key", "target": "a\0b", "period": "month", "credits": 5}, "target"),
    ("/api/budgets/", {"scope": "balance", "credits": 5, "webhook_url": "https://example.com/a\0b"}, "webhook_url"),
    ("/api/chat/stream/", {"model": "\0", "prompt": "x"}, "model"),
    ("/api/chat/stream/", {"model": "free", "prompt": "x", "conversation_id": "\0"}, "conversation_id"),
]


@pytest.mark.parametrize(("path", "field"), FORMS)
def test_a_form_field(member: Browser, path: str, field: str) -> None:
    answer = member.post(path, f"{field}=a%00b".encode(), {"accept": "application/json"})
    assert (answer.status, answer.error["param"]) == (400, field)
    page = member.post(path, f"{field}=a%00b".encode())
    assert (page.status, f"{field}&#39; must not contain a NUL character".encode() in page.body) == (400, True)


@pytest.mark.parametrize("path", QUERIES)
def test_a_query_parameter(member: Browser, path: str) -> None:
    answer = member.get(path, {"accept": "application/json"})
    assert (answer.status, answer.error["param"]) == (400, path.partition("?")[2].partition("=")[0])


@pytest.mark.parametrize("path", ["/c/%00", "/account/keys/%00/revoke", "/account/conversations/%00/delete", "/docs/%00"])
def test_a_path_is_not_found(member: Browser, path: str) -> None:
    assert member.get(path).status == 404


@pytest.mark.parametrize(("path", "body", "field"), CALLS, ids=lambda value: str(value)[:30])
def test_an_api_field(site: Site, member: Browser, path: str, body: dict[str, Any], field: str) -> None:
    answer = member.api("POST", path, body)
    assert 400 <= answer.status < 500
    assert answer.error["param"] in (field, None) or answer.status == 404
