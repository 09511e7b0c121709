"""Shares: what can be shared, what the page and its JSON show, and that only the owner can revoke them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from edge.api.share import read_share_request
from shared.core.errors import InvalidRequest
from shared.operations.purges import begin_purge
from shared.operations.shares import MAX_CHARACTERS
from tests.edge.api.conftest import ApiStack, Customer
from tests.factories import ORIGIN

PATH = "/api/chat/share/"
MESSAGES = [
    {"role": "system", "content": "Be secret."},
    {"role": "user", "content": [{"type": "text", "text": "What is **this**?"}, {"type": "image_url", "image_url": {}}]},
    {"role": "assistant", "content": "A *test*."},
]


def shared(customer: Customer, **fields: Any) -> dict[str, Any]:
    reply = customer.post(PATH, {"title": "A talk", "messages": MESSAGES, **fields})
    assert reply.status == 201, reply.body
    document: dict[str, Any] = reply.json
    return document


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def test_a_share_is_served_as_page_and_json(api: ApiStack, customer: Customer) -> None:
    made = shared(customer)
    assert len(made["slug"]) == 22
    assert made["url"] == f"{api.edge.url}/c/{made['slug']}"
    page = api.request("GET", path_of(made["url"]))
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = page.body.decode()
    assert "What is **this**?" in text  # user text is shown as typed
    assert "[image]" in text
    assert "<em>test</em>" in text
    assert "Be secret" not in text
    assert customer.account.email not in text
    assert str(customer.account.id) not in text
    document = api.request("GET", path_of(made["url"]), headers={"accept": "application/json"})
    assert document.headers["content-type"] == "application/json"
    assert set(document.json) == {"title", "messages", "created"}
    assert document.json["messages"] == [
        {"role": "user", "content": "What is **this**?\n\n[image]"},
        {"role": "assistant", "content": "A *test*."},
    ]


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_share_headers_forbid_indexing_scripts_and_caching(api: ApiStack, customer: Customer, accept: str) -> None:
    for path in (path_of(shared(customer)["url"]), "/c/unknown"):
        headers = api.request("GET", path, headers={"accept": accept}).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
        assert "script" not in headers["content-security-policy"]
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_revoked_and_unknown_shares_look_the_same(api: ApiStack, customer: Customer, accept: str) -> None:
    made = shared(customer)
    stranger = api.customer()
    foreign = stranger.request("DELETE", path_of(made["delete_url"]))
    unknown = stranger.request("DELETE", f"{PATH}{'x' * 22}/")
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body) == (404, unknown.body)
    assert customer.request("DELETE", path_of(made["delete_url"])).status == 200
    asked = {"accept": accept}
    revoked = api.request("GET", path_of(made["url"]), headers=asked)
    for slug in ("x" * 22, "short", "a" * 500):
        never = api.request("GET", f"/c/{slug}", headers=asked)
        assert (never.status, never.body) == (revoked.status, revoked.body) == (404, revoked.body)
    assert api.request("GET", f"/c/{'%00' * 22}", headers=asked).status == 404
    again = customer.request("DELETE", path_of(made["delete_url"]))
    assert (again.status, again.body) == (unknown.status, unknown.body)


def test_the_share_list_is_paginated_and_has_no_content(customer: Customer) -> None:
    slugs = [shared(customer, title=f"Talk {number}")["slug"] for number in range(3)]
    first = customer.get(f"{PATH}?limit=2").json
    assert [share["slug"] for share in first["shares"]] == slugs[:0:-1]
    second = customer.get(f"{PATH}?limit=2&after={first['next']}").json
    assert ([share["slug"] for share in second["shares"]], second["next"]) == (slugs[:1], None)
    assert "messages" not in first["shares"][0]
    for query in ("limit=0", "limit=101", "limit=x", "after=1", "limit=%C2%B2"):
        assert customer.get(f"{PATH}?{query}").status == 400


WRONG: list[tuple[Any, str | None]] = [
    ({}, "conversation_id"),
    ({"conversation_id": "c", "messages": MESSAGES}, "conversation_id"),
    ({"conversation_id": 1}, "conversation_id"),
    ({"messages": MESSAGES}, "title"),
    ({"messages": MESSAGES, "title": 1}, "title"),
    ({"messages": MESSAGES, "title": " "}, "title"),
    ({"messages": MESSAGES, "title": "a\x00"}, "title"),
    ({"messages": MESSAGES, "title": "a" * 201}, "title"),
    ({"messages": [], "title": "a"}, "messages"),
    ({"messages": "Hi", "title": "a"}, "messages"),
    ({"messages": ["Hi"], "title": "a"}, "messages[0]"),
    ({"messages": [{"role": "root", "content": "a"}], "title": "a"}, "messages[0].role"),
    ({"messages": [{"role": [], "content": "a"}], "title": "a"}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 1}], "title": "a"}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["a"]}], "title": "a"}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "name": "b"}], "title": "a"}, "messages[0].name"),
    ({"messages": MESSAGES, "title": "a", "slug": "mine"}, "slug"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_an_invalid_field_is_named(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_share_request(orjson.dumps(body))
    assert caught.value.param == param


def test_empty_or_oversized_shares_are_rejected(customer: Customer) -> None:
    for messages in ([{"role": "system", "content": "Hi"}], [{"role": "user", "content": "a" * (MAX_CHARACTERS + 1)}]):
        reply = customer.post(PATH, {"title": "a", "messages": messages})
        assert (reply.status, reply.error["param"]) == (400, "messages")


def test_sharing_is_rejected_during_a_purge(customer: Customer) -> None:
    begin_purge(customer.account.id, origin=ORIGIN)
    reply = customer.post(PATH, {"title": "a", "messages": MESSAGES})
    assert (reply.status, reply.error["code"], reply.headers["x-should-retry"]) == (409, "purge_in_progress", "false")


def test_an_invalid_key_cannot_share(api: ApiStack) -> None:
    assert api.request("POST", PATH, {"title": "a", "messages": MESSAGES}).status == 401
    assert api.request("GET", PATH).status == 401
