"""Another account's ids are as unknown as random ones: the same status and body, at every route that takes an id.

The routes come from the table of permissions. An owner of another account asks, with a web session and with a key that can
manage the account, because they may do most.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID, uuid4

import orjson
import pytest

from edge.identity.route_permissions import NEEDS
from shared.core.clock import new_id, now_ms
from shared.identity.web_sessions import digest
from shared.models import (
    Account,
    Invitation,
    MediaJob,
    Message,
    PersonIdentity,
    PersonPasskey,
    Plan,
    PurgeJob,
    StoredResponse,
    Subscription,
)
from shared.operations.keys import KeyOptions, create_key
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import COOKIE, PASSWORD, Browser, Site
from tests.edge.web.test_every_page import create_one_of_everything
from tests.edge.web.test_members import without_tokens
from tests.factories import ORIGIN
from tests.servers.stripe import StripeServer

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
PARAMETER = re.compile(r"<([^>]+)>")
NO_ID = {"path:model_id", "any(image, video, speech):kind"}  # parameters that name nothing of an account
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "yout@example.com", "public_url": "http://yout.test"}
_TERMS = {"credits": "5", "percents": "50", "email": "on"}
_CONVERSATION = {"title": "t", "messages": [{"role": "user", "content": "Hi"}]}
# Valid fields, where an empty request is refused before the id is looked up.
FIELDS: dict[str, dict[str, Any]] = {
    "POST /account/budgets/<budget_id>": _TERMS,
    "POST /account/keys/<key_id>/edit": {"name": "k"},
    "POST /account/members/<member_id>": {"role": "viewer"},
    "PATCH /api/budgets/<budget_id>/": {"credits": 5},
    "PATCH /api/chat/keys/<key_id>/": {"name": "k"},
    "PUT /api/chat/conversations/<conversation_id>/": {**_CONVERSATION, "updated": "2026-01-01T00:00:00Z"},
    "POST /account/identities/<identity_id>/disconnect": {"password": PASSWORD},
    "POST /account/passkeys/<passkey_id>/remove": {"password": PASSWORD},
}
# Requests with an id in the body or the query. `{}` is the id.
_CHAT = {"model": "m-1", "max_tokens": 5}
WITH_ID: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("conversation", "POST", "/api/chat/stream/", {**_CHAT, "prompt": "Hi", "conversation_id": "{}"}),
    ("conversation", "POST", "/api/chat/share/", {"conversation_id": "{}"}),
    ("response", "POST", "/v1/responses", {"model": "m-1", "input": "Hi", "previous_response_id": "{}"}),
    ("key", "POST", "/api/budgets/", {"scope": "key", "target": "{}", "credits": 5}),
    ("member", "POST", "/api/budgets/", {"scope": "member", "target": "{}", "credits": 5}),
    ("job", "GET", "/api/media/jobs/?after={}", {}),
    ("video", "GET", "/v1/videos?after={}", {}),
    ("conversation", "GET", "/api/chat/conversations/?after={}", {}),
    ("share", "GET", "/api/chat/share/?after={}", {}),
    ("key", "GET", "/calls?key={}", {}),
    ("key", "GET", "/calls.csv?key={}", {}),
    ("key", "GET", "/api/usage/?key={}", {}),
    ("call", "GET", "/calls?after={}", {}),
)


class Ids(NamedTuple):
    """An id of something of the other account, and one of the same form that names nothing."""

    foreign: str
    random: str


@pytest.fixture
def owner(site: Site, stripe: StripeServer) -> Browser:
    """The owner of the other account."""
    return site.member(**stripe.settings, **MAIL)


@pytest.fixture
def ids(owner: Browser) -> dict[str, Ids]:
    """Ids by what they name."""
    made, account = create_one_of_everything(owner), owner.account
    assert account is not None
    person = account.id
    job, video = MediaJob.select().where(MediaJob.account == account).get(), new_id()
    MediaJob.insert({**job.__data__, "id": video, "kind": "video"}).execute()
    response = StoredResponse.create(id=new_id(), account=account, model="m-1", input="[]", response='{"output": []}').id
    purge = PurgeJob.create(account=account, status="done", boundary=now_ms(), finished_at=now_ms(), certificate="{}").id
    identity = PersonIdentity.create(person=person, issuer="https://issuer.example", subject=uuid4().hex, email="a@b.example").id
    passkey = PersonPasskey.create(person=person, credential=uuid4().hex, public_key=b"k", sign_count=0, name="Firefox").id
    invitation = Invitation.get(Invitation.account == account).id
    share, form = made["slug"], made["form_id"]
    return {
        **{
            name: Ids(str(value), str(new_id()))
            for name, value in {
                **{"key": made["key_id"], "member": made["member_id"], "budget": made["budget_id"], "invitation": invitation},
                **{"conversation": made["conversation_id"], "purge": purge, "identity": identity, "passkey": passkey},
                **{"job": job.id, "account": account.id},
            }.items()
        },
        "payment": Ids(made["reference"], new_id().hex),
        "call": Ids(made["id"], f"req_{new_id().hex}"),
        "response": Ids(f"resp_{response.hex}", f"resp_{new_id().hex}"),
        "video": Ids(f"video_{video.hex}", f"video_{new_id().hex}"),
        "share": Ids(share, secrets.token_urlsafe(16)),
        "form": Ids(form, secrets.token_hex(len(form) // 2)),
        "session": Ids(digest(owner.cookies[COOKIE]), secrets.token_hex(32)),
    }


def kind_of(route: str, parameter: str) -> str:
    """What the parameter of a route names."""
    if parameter != "id":
        return {"slug": "share", "reference": "payment", "digest": "session"}.get(parameter, parameter.removesuffix("_id"))
    [found] = [kind for part, kind in _BY_PATH.items() if part in route]
    return found


_BY_PATH = {"media/jobs": "job", "/receipts/": "call", "/calls/": "call", "/v1/responses": "response", "/v1/videos": "video"}


def routes() -> Iterator[tuple[str, str]]:
    """Yield each route that takes an id of an account, with what it names."""
    for route, need in NEEDS.items():
        found = [parameter for parameter in PARAMETER.findall(route) if parameter not in NO_ID]
        if found and need != "public":
            [parameter] = found
            yield route, kind_of(route, parameter)


class Stranger(NamedTuple):
    """The owner of an account whose plan allows everything, and a key that can manage it."""

    browser: Browser
    key: str

    def ask(self, method: str, path: str, fields: dict[str, Any], *, by_key: bool) -> Reply:
        if by_key:
            headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json", "accept": "application/json"}
            body = None if method == "GET" else orjson.dumps(fields)
            return Browser(self.browser.port).request(method, path, body, headers)
        if path.startswith("/api/"):
            return self.browser.api(method, path, fields)
        if method == "GET":
            return self.browser.get(path)
        return self.browser.post(path, urlencode({"csrf_token": self.browser.token("/account/keys"), **fields}).encode())


@pytest.fixture
def stranger(site: Site, stripe: StripeServer) -> Stranger:
    browser = site.browser(**stripe.settings, **MAIL)
    browser.account = site.account(browser.sign_up())
    Account.update(email_verified_at=1).where(Account.id == browser.account.id).execute()
    Subscription.create(account=browser.account, plan=Plan.create(name=f"Keeper {browser.account.email}", stores_content=True))
    return Stranger(browser, create_key(browser.account.id, "k", KeyOptions(can_manage=True), origin=ORIGIN).secret)


def without(reply: Reply, id: str) -> tuple[int, bytes]:
    """The answer, without the id that it may repeat, and without what differs between any two answers."""
    return reply.status, re.sub(rb"req_[0-9a-f]{32}", b"", without_tokens(reply.body.replace(id.encode(), b"ID")))


def test_ids_in_paths(stranger: Stranger, ids: dict[str, Ids]) -> None:
    wrong, asked = [], 0
    for route, kind in routes():
        method, path = PARAMETER.sub("{}", route).split(" ", 1)
        for by_key in (False, True):
            if by_key != path.startswith("/v1/") and not (by_key and path.startswith("/api/")):
                continue
            foreign, random = (
                without(stranger.ask(method, path.format(id), FIELDS.get(route, {}), by_key=by_key), id) for id in ids[kind]
            )
            asked += 1
            if foreign != random or foreign[0] != 404:
                wrong.append((route, "key" if by_key else "session", foreign[0], random[0], foreign[1][-200:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert asked > 50


def test_ids_in_bodies_and_queries(stranger: Stranger, ids: dict[str, Ids]) -> None:
    for kind, method, path, fields in WITH_ID:
        answers = []
        for id in ids[kind]:
            body = {name: id if value == "{}" else value for name, value in fields.items()}
            by_key = path.startswith(("/api/", "/v1/"))
            answers.append(without(stranger.ask(method, path.format(id), body, by_key=by_key), id))
        assert answers[0] == answers[1], path
        assert answers[0][0] in (200, 400, 404), path


def test_chosen_ids(stranger: Stranger, ids: dict[str, Ids]) -> None:
    """An account that uses the same id as another one sees what it sees with an id that nobody uses."""
    foreign, _ = ids["conversation"]
    unused = str(UUID(int=UUID(foreign).int + 1))  # the next one, so that the order of lists shows any replacement
    before = list(Message.select().where(Message.conversation == foreign).dicts())
    answers = [use_conversation(stranger, id) for id in (foreign, unused)]
    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [404, 200, 409, 200, 200, 201]

    listed = stranger.ask("GET", "/api/chat/conversations/", {}, by_key=True).json["conversations"]
    assert [row["id"] for row in listed] == [unused, foreign]
    exported = stranger.browser.get("/account/export.json").json
    assert [row["id"] for row in exported["conversations"]] == [foreign, unused]
    assert [row["conversation"] for row in exported["messages"]] == [foreign, unused]
    assert [row["conversation"] for row in exported["shares"]] == [foreign, unused]
    assert {tuple(row) for row in exported["conversations"]} == {
        ("id", "account", "title", "message_count", "created_at", "updated_at")
    }
    page = stranger.browser.get("/account/conversations").body
    assert page.count(foreign.encode()) == page.count(unused.encode()) == 2

    deleted = [stranger.ask("DELETE", f"/api/chat/conversations/{id}/", {}, by_key=True).status for id in (foreign, unused)]
    assert deleted == [200, 200]
    assert before == list(Message.select().where(Message.conversation == foreign).dicts()) != []


def use_conversation(stranger: Stranger, id: str) -> list[tuple[int, bytes]]:
    """Try to replace a conversation, create it, create it again, replace it, read it and share it."""
    path = f"/api/chat/conversations/{id}/"
    missing = stranger.ask("PUT", path, {**_CONVERSATION, "updated": "2026-01-01T00:00:00Z"}, by_key=True)
    created = stranger.ask("PUT", path, _CONVERSATION, by_key=True)
    replies = [
        *(missing, created, stranger.ask("PUT", path, _CONVERSATION, by_key=True)),
        stranger.ask("PUT", path, {**_CONVERSATION, "updated": created.json["updated"]}, by_key=True),
        stranger.ask("GET", path, {}, by_key=True),
        stranger.ask("POST", "/api/chat/share/", {"conversation_id": id}, by_key=True),
    ]
    varying = rb"\d{4}-\d\d-\d\dT[\d:.]+Z|/c/[\w-]+|\"slug\":\"[^\"]+|/share/[\w-]+"
    return [(status, re.sub(varying, b"", body)) for status, body in (without(reply, id) for reply in replies)]


def test_the_owner_is_known_by_these_ids(owner: Browser, ids: dict[str, Ids]) -> None:
    """So that the other tests do not compare ids that name nothing."""
    account = owner.account
    assert isinstance(account, Account)
    caller = Stranger(owner, create_key(account.id, "k", KeyOptions(can_manage=True), origin=ORIGIN).secret)
    unknown = []
    for route, kind in routes():
        method, path = PARAMETER.sub("{}", route).split(" ", 1)
        if method == "GET" and not route.endswith("/content"):  # there is no file
            reply = caller.ask(method, path.format(ids[kind].foreign), {}, by_key=path.startswith("/v1/"))
            if reply.status == 404:
                unknown.append(route)
    assert unknown == []
