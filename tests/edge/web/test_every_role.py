"""Every role at every route of a real edge, by web session and by API key: allowed or refused as the table says.

The routes come from the table (`edge/identity/route_permissions.py`), which another test compares with the app. Requests are
empty and name rows that do not exist, so that an allowed one fails for another reason and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import orjson
import pytest

from edge.app import ENDPOINTS
from edge.identity.route_permissions import NEEDS, is_allowed
from shared.core.clock import new_id
from shared.identity.roles import OWNER, ROLES, may
from shared.models import AIModel, Channel, Member
from shared.operations.keys import KeyOptions, create_key
from shared.operations.payments import PaymentTerms, set_payment_settings
from tests import factories
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import Browser, Site
from tests.edge.web.test_members import member_of
from tests.factories import ORIGIN
from tests.openai_payloads import completion
from tests.servers.stripe import StripeServer
from tests.upstream import default_script
from tests.upstream_responses import json_response

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "yout@example.com", "public_url": "http://yout.test"}
REFUSED = b"does not allow this"
# An empty request to these ends the session or the account's data, so each gets an account of its own.
LAST = {
    *("POST /sign-out", "POST /sign-out-everywhere", "POST /account/leave", "POST /api/chat/purge/"),
    *("POST /accounts/<account_id>/switch", "POST /account/sessions/<digest>/end"),
}
KEY_ROUTES = re.compile(r" /(api|v1)/")
FOR_VISITORS = {
    *("GET /api/chat/models/", "GET /api/chat/limit/", "POST /api/chat/purge/"),
    *("GET /v1/models", "GET /v1/models/<path:model_id>"),
}
ONLY_WITH_KEY = re.compile(r" /v1/(?!models)| /api/key/")
_MESSAGES = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
MODEL_CALLS: dict[str, tuple[str, dict[str, object]]] = {
    "/v1/chat/completions": ("m-1", _MESSAGES),
    "/v1/completions": ("m-1", {"prompt": "Hi", "max_tokens": 5}),
    "/v1/embeddings": ("embedding-1", {"input": "Hi"}),
    "/v1/moderations": ("moderation-1", {"input": "Hi"}),
    "/v1/rerank": ("rerank-1", {"query": "Hi", "documents": ["a"]}),
    "/v2/rerank": ("rerank-1", {"query": "Hi", "documents": ["a"]}),
    "/v1/audio/transcriptions": ("transcription-1", {}),
    "/v1/audio/translations": ("transcription-1", {}),
    "/v1/responses": ("m-1", {"input": "Hi"}),
    "/v1/responses/compact": ("m-1", {"input": "Hi"}),
    "/v1/messages": ("m-1", _MESSAGES),
    "/api/chat/stream": ("m-1", {"prompt": "Hi"}),
    "/api/chat/transcription": ("transcription-1", {}),
}
CALLED_WITH_COOKIE = {"/v1/chat/completions", "/api/chat/stream", "/api/chat/transcription"}


class Caller(NamedTuple):
    """A member: their browser, and a key that can manage the account."""

    browser: Browser
    secret: str


@pytest.fixture
def settings(stripe: StripeServer) -> dict[str, object]:
    """The settings with which every route does something."""
    set_payment_settings(
        PaymentTerms("usd", 1_000, [500], 100, 100_000, invoices=True, bank_details="IBAN DE02 1203"), origin=ORIGIN
    )
    for kind in ("embedding", "moderation", "rerank", "transcription"):
        if not AIModel.select().where(AIModel.id == f"{kind}-1").exists():  # the site is shared by all tests here
            factories.model(f"{kind}-1", Channel.get(), kind=kind, input=1_000, output=2_000)
    return {**stripe.settings, **MAIL}


@pytest.fixture
def join(site: Site, settings: dict[str, object]) -> Callable[[str], Caller]:
    """`join("billing")`: a member with this role of a new account."""

    def make(role: str) -> Caller:
        owner = site.member(**settings)
        assert owner.account is not None
        browser = owner if role == OWNER else member_of(site, owner, role)
        browser.port = owner.port
        member = Member.get((Member.account == owner.account) & (Member.role == role))
        made = create_key(owner.account.id, "k", KeyOptions(can_manage=True), member=member.id, origin=ORIGIN)
        return Caller(browser, made.secret)

    return make


def path_of(route: str) -> str:
    """The path of a route, with values that name nothing."""
    path = route.partition(" ")[2].replace("<any(image, video, speech):kind>", "image").replace("<path:model_id>", "m-1")
    return re.sub(r"<[^>]+>", lambda _: str(new_id()), path)


def by_session(caller: Caller, route: str) -> Reply:
    method, path = route.partition(" ")[0], path_of(route)
    if KEY_ROUTES.search(route):
        return caller.browser.api(method, path, {})
    if method == "GET":
        return caller.browser.get(path)
    return caller.browser.submit_form(path, page="/accounts")


def by_key(caller: Caller, route: str) -> Reply:
    headers = {"authorization": f"Bearer {caller.secret}", "accept": "application/json", "content-type": "application/json"}
    browser = Browser(caller.browser.port)
    method = route.partition(" ")[0]
    return browser.request(method, path_of(route), b"{}" if method not in ("GET", "DELETE") else None, headers)


def is_refused(reply: Reply) -> bool:
    return reply.status == 403 and REFUSED in reply.body


def differs(reply: Reply, allowed: bool, with_session: bool, route: str) -> bool:
    """Whether an answer is not what a member who may, or may not, use the route must get."""
    if with_session and ONLY_WITH_KEY.search(route):
        return reply.status != 401
    return is_refused(reply) == allowed or reply.status in (401, 405) or reply.status >= 500


@pytest.mark.parametrize("role", ROLES)
def test_a_session_may_use_the_routes_of_its_role(join: Callable[[str], Caller], role: str) -> None:
    caller, wrong = join(role), []
    for route, need in NEEDS.items():
        if need == "public" and route not in LAST:
            continue
        reply = by_session(join(role) if route in LAST else caller, route)
        if differs(reply, is_allowed(role, *route.split(" ", 1)), True, route):
            wrong.append((route, reply.status, reply.body[:200]))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("role", ROLES)
def test_a_key_may_use_the_routes_of_its_members_role_if_it_may_call(join: Callable[[str], Caller], role: str) -> None:
    caller, wrong = join(role), []
    for route, need in NEEDS.items():
        if need == "public" or not KEY_ROUTES.search(route):
            continue
        reply = by_key(join(role) if route in LAST else caller, route)
        if differs(reply, may(role, "call") and is_allowed(role, *route.split(" ", 1)), False, route):
            wrong.append((route, reply.status, reply.body[:200]))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("role", ROLES)
def test_only_some_roles_call_models(site: Site, join: Callable[[str], Caller], role: str) -> None:
    site.upstream.default = lambda _: json_response(completion())
    caller, expected = join(role), not may(role, "call")
    assert MODEL_CALLS.keys() == ENDPOINTS.keys()
    for path, (model, fields) in MODEL_CALLS.items():
        by_key = post_call(caller, path, {"model": model, **fields}, by_cookie=False)
        assert (is_refused(by_key), by_key.status == 403) == (expected, expected), path
        by_cookie = post_call(caller, path, {"model": model, **fields}, by_cookie=True)
        if path in CALLED_WITH_COOKIE:
            assert (is_refused(by_cookie), by_cookie.status == 403) == (expected, expected), path
        else:
            assert by_cookie.status == 401, path
    site.upstream.default = default_script


def post_call(caller: Caller, path: str, fields: dict[str, object], *, by_cookie: bool) -> Reply:
    boundary = "b0"
    form = [f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    form.append(
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--{boundary}--\r\n'
    )
    is_form = "audio" in path or "transcription" in path
    body = "".join(form).encode() if is_form else orjson.dumps(fields)
    headers = {"content-type": f"multipart/form-data; boundary={boundary}" if is_form else "application/json"}
    if by_cookie:
        headers |= {"x-csrf-token": caller.browser.token("/accounts"), "accept": "application/json"}
        return caller.browser.post(path, body, headers)
    return Browser(caller.browser.port).request("POST", path, body, {**headers, "authorization": f"Bearer {caller.secret}"})


def test_signed_out_browsers_get_no_account(site: Site, settings: dict[str, object]) -> None:
    browser, wrong = site.browser(**settings), []
    for route, need in NEEDS.items():
        if need == "public":
            continue
        method, path = route.partition(" ")[0], path_of(route)
        if KEY_ROUTES.search(route):
            reply = browser.api(method, path, {})
            if (reply.status == 401) == (route in FOR_VISITORS):
                wrong.append((route, reply.status))
            continue
        reply = browser.get(path) if method == "GET" else browser.submit_form(path, page="/sign-in")
        if path == "/account/identities/connect" and reply.status == 404:  # no provider is configured
            continue
        if (reply.status, reply.headers.get("location", "")[:8]) != (303, "/sign-in"):
            wrong.append((route, reply.status))
    assert not wrong, "\n".join(map(str, wrong))
