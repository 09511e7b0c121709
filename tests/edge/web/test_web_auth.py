"""Access to every endpoint of the native API and of OpenAI's, with a key, with a session, and as a visitor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from edge.http.web_headers import cookie_value, read_web_headers
from shared.catalog.failover import FAILURES_TO_OPEN
from shared.identity.visitor_id import DAY_MS, visitor_digest
from shared.models import Account, Hold, Plan, Subscription, UsageLedger
from shared.operations.web_accounts import end_sessions
from tests import factories
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import COOKIE, Browser, Site
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import WAIT_SECONDS, Gate, error_response, json_response
from tests.upstream_responses import stream as stream_of

POOL = {"visitor_pool_credits": 50_000, "visitor_daily_credits": 1_000}
STREAM = {"model": "free", "prompt": "Hi"}
QUOTED = {"model": "free", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}
SHARE = {"title": "t", "messages": [{"role": "user", "content": "x"}]}
NO_ID = "00000000-0000-7000-8000-000000000000"

# method, path, body, then the status with a key, with a session, and as a visitor
CALLS: list[tuple[str, str, Any, int, int, int]] = [
    ("GET", "/api/chat/models/", None, 200, 200, 200),
    ("GET", "/api/chat/limit/", None, 200, 200, 200),
    ("POST", "/api/chat/stream/", STREAM, 200, 200, 200),
    ("POST", "/api/chat/stream/", {**STREAM, "model": "m-1"}, 200, 200, 403),
    ("POST", "/api/quote/", QUOTED, 200, 200, 200),
    ("POST", "/api/quote/", {**QUOTED, "model": "m-1"}, 200, 200, 403),
    ("GET", "/api/chat/keys/", None, 200, 200, 401),
    ("POST", "/api/chat/keys/", {"name": "x"}, 201, 201, 401),
    ("POST", f"/api/chat/keys/{NO_ID}/revoke/", None, 404, 404, 401),
    ("GET", "/api/chat/conversations/", None, 200, 200, 401),
    ("GET", f"/api/chat/conversations/{NO_ID}/", None, 404, 404, 401),
    ("PUT", f"/api/chat/conversations/{NO_ID}/", SHARE, 403, 403, 401),
    ("DELETE", f"/api/chat/conversations/{NO_ID}/", None, 404, 404, 401),
    ("POST", "/api/chat/share/", SHARE, 201, 201, 401),
    ("GET", "/api/chat/share/", None, 200, 200, 401),
    ("DELETE", "/api/chat/share/AAAAAAAAAAAAAAAAAAAAAA/", None, 404, 404, 401),
    ("POST", "/api/chat/purge/", None, 202, 202, 202),
    ("GET", f"/api/chat/purge/{NO_ID}/", None, 404, 404, 401),
    ("GET", f"/api/media/jobs/{NO_ID}/", None, 404, 404, 401),
    ("DELETE", f"/api/media/jobs/{NO_ID}/", None, 404, 404, 401),
    ("POST", f"/api/media/jobs/{NO_ID}/cancel/", None, 404, 404, 401),
    ("GET", "/v1/models", None, 200, 200, 200),
    ("POST", "/v1/chat/completions", {"model": "free", "messages": [{"role": "user", "content": "x"}]}, 200, 200, 200),
    ("POST", "/v1/completions", {"model": "free", "prompt": "x"}, 200, 401, 401),
]


@pytest.mark.parametrize(("method", "path", "body", "key", "session", "visitor"), CALLS, ids=lambda value: str(value)[:40])
def test_access_by_key_session_and_visitor(
    site: Site, method: str, path: str, body: object, key: int, session: int, visitor: int
) -> None:
    member = site.member(**POOL)
    assert member.account is not None
    secret = factories.api_key(member.account)[1]
    program = site.browser("curl/8.5", **POOL)
    sent = {"authorization": f"Bearer {secret}", "origin": "", "x-csrf-token": ""}
    answers = [
        program.api(method, path, body, sent),
        member.api(method, path, body),
        site.browser(**POOL).api(method, path, body),
    ]
    assert [answer.status for answer in answers] == [key, session, visitor]
    for answer in answers:
        if answer.status == 401:
            assert (answer.error["code"], answer.error["type"]) == ("invalid_api_key", "authentication_error")


def test_a_session_streams_and_its_account_is_charged(site: Site, member: Browser) -> None:
    assert member.account is not None
    answer = member.api("POST", "/api/chat/stream/", {"model": "m-1", "prompt": "Hi"})
    last = answer.chunks[-1]
    assert (last["done"], last["credits_charged"], last["balance"]) == (True, 13, 499_987)
    assert int(answer.headers["x-ratelimit-remaining-requests"]) > 0
    row = UsageLedger.get(UsageLedger.account == member.account.id)
    assert (row.api_key, row.credits, row.status) == (None, 13, "completed")
    assert Account.get_by_id(member.account.id).balance == 499_987


def test_a_session_and_a_visitor_transcribe_a_recording(site: Site, member: Browser) -> None:
    assert member.account is not None
    suffix, channel = member.account.id.hex, factories.channel(site.upstream.url)
    factories.model(f"paid-{suffix}", channel, kind="transcription", input=0, output=0, per_call=11)
    factories.model(f"free-{suffix}", channel, kind="transcription", input=0, output=0, per_call=11, is_free=True)
    visitor = site.browser(**POOL)
    for knows in (member, visitor):
        eventually(lambda one=knows: suffix in one.api("GET", "/api/chat/models/").body.decode(), "the edge knows the models")

    def transcribe(caller: Browser, model: str) -> Reply:
        fields = f'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}-{suffix}\r\n'
        file = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.webm"\r\ncontent-type: audio/webm\r\n\r\nsound'
        page = "/account/keys" if caller is member else "/sign-up"
        sent = {"content-type": "multipart/form-data; boundary=b", "x-csrf-token": caller.token(page)}
        return caller.post("/api/chat/transcription/", f"{fields}{file}\r\n--b--\r\n".encode(), sent)

    site.upstream.script(*[json_response({"text": "Hello."}) for _ in range(2)])
    answer = transcribe(member, "paid")
    assert (answer.status, answer.json["text"], answer.json["yout"]) == (
        200,
        "Hello.",
        {"credits_charged": 11, "balance": 499_989},
    )
    assert transcribe(visitor, "paid").status == 403
    used = transcribe(visitor, "free").json["yout"]
    assert used == {"credits_charged": 11, "balance": 989}
    assert visitor.api("GET", "/api/chat/limit/").json["remaining"] == 989


def test_a_visitors_quote_is_measured_by_todays_allowance(site: Site) -> None:
    visitor = site.browser(**POOL)
    found = visitor.api("POST", "/api/quote/", QUOTED).json
    assert (found["balance"], found["held"], found["fits"]) == (1_000, 0, True)
    assert 10 <= found["required"] <= found["typical"] <= found["worst"]
    charged = visitor.api("POST", "/api/chat/stream/", {**STREAM, "max_tokens": 100}).chunks[-1]["credits_charged"]
    assert charged <= found["worst"]
    assert visitor.api("POST", "/api/quote/", QUOTED).json["balance"] == 1_000 - charged
    large = {**QUOTED, "messages": [{"role": "user", "content": "word " * 2_000}]}
    assert visitor.api("POST", "/api/quote/", large).json["fits"] is False
    several = {**QUOTED, "models": ["m-1"]}
    assert visitor.api("POST", "/api/quote/", several).status == 403
    assert site.browser().api("POST", "/api/quote/", QUOTED).status == 401, "visitors are not admitted there"


def test_a_session_without_enough_credits_gets_cheaper_models(site: Site, member: Browser) -> None:
    assert member.account is not None
    name = f"dear-{member.account.id.hex}"
    factories.model(name, factories.channel(site.upstream.url), input=100_000_000, output=100_000_000)
    eventually(lambda: name in member.api("GET", "/api/chat/models/").body.decode(), "the edge knows the model")
    call = {"model": name, "prompt": "Hi", "max_tokens": 2_000}
    answer = member.api("POST", "/api/chat/stream/", call)
    allowance_of = answer.json["yout"]
    assert (answer.status, allowance_of["balance"]) == (402, 500_000)
    assert {model["id"] for model in allowance_of["cheaper_models"]} >= {"m-1", "free"}
    assert all(set(model) == {"id", "worst"} and model["worst"] <= 500_000 for model in allowance_of["cheaper_models"])
    asked = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2_000}
    quoted = member.api("POST", "/api/quote/", asked).json
    assert quoted["fits"] is False
    assert [model["id"] for model in quoted["cheaper_models"]] == [model["id"] for model in allowance_of["cheaper_models"]]
    Subscription.create(account=member.account, plan=Plan.create(name=name, allowed_models=[name, "free"]))
    allowance_of = member.api("POST", "/api/chat/stream/", call).json["yout"]
    assert [model["id"] for model in allowance_of["cheaper_models"]] == ["free"], "no other model is on the plan"
    assert UsageLedger.select().where(UsageLedger.account == member.account).count() == 0


@pytest.mark.parametrize("cookie", ["x" * 43, ""])
def test_a_page_whose_session_ended_does_not_continue_as_a_visitor(site: Site, cookie: str) -> None:
    member = site.member(**POOL)
    token = member.token("/account/keys")
    assert member.submit_form("/sign-out", page="/account").status == 303
    member.cookies = {COOKIE: cookie} if cookie else {}
    sent = {"accept": "application/json", "x-csrf-token": token}
    answer = member.post("/api/chat/stream/", b'{"model": "free", "prompt": "Hi"}', sent)
    assert (answer.status, answer.error["code"]) == (401, "sign_in_required")


def test_ending_a_session_ends_its_stream_and_bills_delivered_output(site: Site, member: Browser) -> None:
    assert member.account is not None
    gate = Gate()
    site.upstream.script(stream_of(role(), chunk("Hel"), gate, chunk("lo"), finish(), usage(7, 3), DONE))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(member.api, "POST", "/api/chat/stream/", {"model": "m-1", "prompt": "Hi"})
        gate.wait_reached()
        end_sessions(member.account.id)
        answer = running.result(WAIT_SECONDS)
    gate.open()
    assert answer.chunks[0] == {"delta": "Hel"}
    assert answer.chunks[-1]["error"]["code"] == "sign_in_required"
    rows = UsageLedger.select().where(UsageLedger.account == member.account.id)
    eventually(lambda: rows.clone().count() == 1, "the call is settled")
    row = rows.get()
    assert (row.status, row.error_code) == ("cancelled", "sign_in_required")
    assert 10 <= row.credits <= 20


def allowance_of(site: Site, visitor: Browser) -> dict[str, Any]:
    document: dict[str, Any] = visitor.api("GET", "/api/chat/limit/").json
    return document


def stream(visitor: Browser, **fields: Any) -> Reply:
    return visitor.api("POST", "/api/chat/stream/", {**STREAM, **fields})


def test_a_visitor_has_a_daily_allowance(site: Site) -> None:
    visitor = site.browser(**POOL)
    before = allowance_of(site, visitor)
    assert before.pop("resets_at").endswith("T00:00:00.000Z")
    assert before == {"kind": "anonymous", "daily_allowance": 1_000, "used": 0, "remaining": 1_000}
    last = stream(visitor).chunks[-1]
    assert (last["credits_charged"], last["balance"]) == (13, 987)
    assert allowance_of(site, visitor)["remaining"] == 987
    for _ in range(100):  # 13 credits each
        if stream(visitor).status != 200:
            break
    refused = stream(visitor)
    assert (refused.status, refused.error["code"]) in [(429, "daily_allowance_exhausted"), (429, "rate_limit_exceeded")]
    assert int(refused.headers["retry-after"]) <= 60


def test_a_visitor_with_a_used_up_allowance_gets_an_explanation(site: Site) -> None:
    visitor = site.browser(visitor_pool_credits=50_000, visitor_daily_credits=15)
    stream(visitor, max_tokens=1)
    refused = stream(visitor)
    assert (refused.status, refused.error["code"]) == (429, "daily_allowance_exhausted")
    assert "retry-after-ms" in refused.headers


def test_visitors_are_identified_only_by_client_ip_and_user_agent(site: Site) -> None:
    visitor = site.browser(**POOL)
    stream(visitor)
    same = site.browser(**POOL)
    same.address = visitor.address
    assert allowance_of(site, same)["used"] > 0
    used = {}
    for number in range(24):
        other_agent = site.browser(f"Other/{number}", **POOL)
        other_agent.address = visitor.address
        used[number] = allowance_of(site, other_agent)["used"]
    assert 0 in used.values()  # an unused user agent, though some share a network
    assert allowance_of(site, site.browser(**POOL))["used"] == 0


def test_rotating_user_agents_are_limited_per_network(site: Site) -> None:
    settings = {"visitor_pool_credits": 50_000, "visitor_daily_credits": 15, "visitors_per_network": 2}
    visitor = site.browser(**settings)
    answers = []
    for number in range(12):
        visitor.agent = f"Rotating/{number}"
        answers.append(stream(visitor, max_tokens=1))
    assert sum(answer.status == 200 for answer in answers) <= 2
    assert {answer.error["code"] for answer in answers if answer.status != 200} == {"daily_allowance_exhausted"}
    assert stream(site.browser("Rotating/0", **settings), max_tokens=1).status == 200  # other networks can still use the pool


def test_an_ipv6_visitor_is_identified_by_network(site: Site) -> None:
    visitor, same_network = site.browser(**POOL), site.browser(**POOL)
    visitor.address, same_network.address = "2001:db8:7:7::1", "2001:db8:7:7:ffff::2"
    stream(visitor)
    assert allowance_of(site, same_network)["used"] > 0


def test_forwarded_addresses_are_used_only_from_a_trusted_proxy(site: Site) -> None:
    visitor, other = (site.browser(**POOL, trusted_proxies=()) for _ in range(2))
    visitor.agent = other.agent = "Untrusted/1.0"
    stream(visitor)
    assert allowance_of(site, other)["used"] > 0  # both are 127.0.0.1, whatever their headers claim


def test_a_visitors_requests_are_limited(site: Site) -> None:
    visitor = site.browser(**POOL, visitor_rpm=2)
    answers = [stream(visitor) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].error["code"] == "rate_limit_exceeded"
    assert answers[2].headers["x-ratelimit-limit-requests"] == "2"


def test_failing_requests_of_a_visitor_leave_the_model_to_other_visitors(site: Site) -> None:
    failing, other = site.browser(**POOL), site.browser(**POOL)
    site.upstream.script(*[error_response(500)] * FAILURES_TO_OPEN)
    assert [stream(failing).status for _ in range(3)] == [502, 502, 503], "three attempts, two attempts, none"
    assert stream(other).status == 200


def test_visitors_are_admitted_only_with_a_visitor_pool(site: Site) -> None:
    visitor = site.browser()
    assert allowance_of(site, visitor)["daily_allowance"] == 0
    assert (stream(visitor).status, stream(visitor).error["code"]) == (401, "sign_in_required")


def test_neither_client_ip_nor_user_agent_is_stored(site: Site) -> None:
    visitor = site.browser("Canary-Agent/7", **POOL)
    visitor.address = "203.0.113.77"
    stream(visitor)
    eventually(lambda: not Hold.select().where(Hold.state == "held").exists(), "the call is settled")
    tables = site.ledger_database.database.get_tables()
    dump = repr([site.ledger_database.database.execute_sql(f'SELECT * FROM "{table}"').fetchall() for table in tables])
    assert "Canary-Agent" not in dump
    assert "203.0.113.77" not in dump


def test_visitor_ids_change_daily_and_differ_between_installations() -> None:
    def known(secret: str, now: int) -> str:
        return visitor_digest(secret, "192.0.2.1", "Agent", now, 8)

    today = known("secret", 5 * DAY_MS)
    assert known("secret", 6 * DAY_MS - 1) == today
    assert len({today, known("secret", 6 * DAY_MS), known("other", 5 * DAY_MS)}) == 3


def test_cookies_may_be_split_over_several_headers() -> None:
    sent = read_web_headers({"headers": [(b"cookie", b"a=1"), (b"host", b"h"), (b"cookie", b"yout_session=x=y; b=2")]})
    assert (cookie_value(sent.cookie, "yout_session"), cookie_value(sent.cookie, "session"), sent.host) == ("x=y", "", "h")


def test_forwarded_addresses_may_be_split_over_several_headers() -> None:
    chain = [(b"x-forwarded-for", b"203.0.113.7"), (b"host", b"a"), (b"x-forwarded-for", b"10.0.0.1, 10.0.0.2"), (b"host", b"b")]
    sent = read_web_headers({"headers": chain})
    assert (sent.forwarded_for, sent.host) == ("203.0.113.7, 10.0.0.1, 10.0.0.2", "b")


def test_idempotency_keys_are_scoped_to_a_visitor(site: Site) -> None:
    visitor, other = site.browser(**POOL), site.browser(**POOL)
    headers = {"idempotency-key": "k"}
    answers = [who.api("POST", "/api/chat/stream/", STREAM, headers) for who in (visitor, other, visitor)]
    assert [answer.status for answer in answers] == [200, 200, 409]


@pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
def test_v1_needs_a_key_unless_a_page_of_this_site_calls(site: Site) -> None:
    chat = {"model": "free", "messages": [{"role": "user", "content": "x"}]}
    member = site.member(**POOL)
    tokens = {"none": {"x-csrf-token": ""}, "wrong": {"x-csrf-token": "x"}, "other site": {"origin": "https://evil.example"}}
    refused = {name: member.api("POST", "/v1/chat/completions", chat, sent) for name, sent in tokens.items()}
    assert {name: (answer.status, answer.json["error"]["code"]) for name, answer in refused.items()} == {
        "none": (401, "invalid_api_key"),
        "wrong": (403, "csrf_failed"),
        "other site": (403, "foreign_origin"),
    }
    visitor = site.browser(**POOL)
    assert visitor.api("POST", "/v1/chat/completions", chat, {"x-csrf-token": ""}).status == 401
    assert visitor.api("POST", "/v1/chat/completions", {**chat, "model": "m-1"}).status == 403
