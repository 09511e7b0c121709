"""Managing the catalog in the console: channels, models, routes and their costs, pausing a channel."""

from __future__ import annotations

import re
from html import unescape

import pytest

from console.views.margins import Margin, margins
from shared.billing.rates import Rate
from shared.core.clock import now_ms
from shared.core.formats import NARROW_SPACE
from shared.core.secrets import unseal
from shared.models import AIModel, ApiKey, AuditEntry, CatalogVersion, Channel, ChannelModel, ModelAlias, Price, UsageLedger
from shared.operations.model_aliases import create_alias
from tests import factories
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY
from tests.upstream import default_script
from tests.upstream_responses import error_response, html_response, json_response

CHANNEL = {
    "name": "acme",
    "dialect": "openai",
    "base_url": "https://api.example.com/v1/",
    "secret": "sk-secret",
    "settings": "{}",
}
MODEL = {
    **{
        "model": "gpt-test",
        "kind": "chat",
        "channel": "acme",
        "upstream_model": "",
        "description": "A test.",
        "owned_by": "Acme",
    },
    **{"modality": "", "context_window": "128 000", "max_output_tokens": "", "capabilities": "tools, vision"},
    **{"input": "150", "output": "600", "per_call": "0", "minimum": "10"},
}


def test_a_channel_and_a_model_are_added_and_served(signed_in):
    browser = signed_in("owner")
    answer = browser.submit_form("/channels/new", "/channels/new", **CHANNEL)
    assert "Channel acme created." in answer.text
    assert "No no-log signal is known for api.example.com." in answer.text
    channel = Channel.get()
    assert (channel.base_url, unseal(channel.sealed_secret, SECRET_KEY)) == ("https://api.example.com/v1", "sk-secret")
    assert "sk-secret" not in answer.text + browser.get("/audit/").text
    before = CatalogVersion.get().version
    answer = browser.submit_form("/models/new", "/models/new", **MODEL)
    assert "gpt-test added to the catalog" in answer.text
    model = AIModel.get()
    assert (model.context_window, model.capabilities, model.owned_by) == (128_000, ["tools", "vision"], "Acme")
    assert Price.get().credits_per_1k_output == 600
    assert ChannelModel.get().upstream_model == "gpt-test"
    assert CatalogVersion.get().version > before


def test_a_channel_of_a_known_provider_gets_its_no_log_signal(signed_in):
    browser = signed_in("owner")
    form = {**CHANNEL, "dialect": "responses", "base_url": "https://api.openai.com/v1"}
    answer = browser.submit_form("/channels/new", "/channels/new", **form)
    assert "no-log" not in answer.text
    channel = Channel.get()
    assert (channel.dialect, channel.settings["body"]) == ("responses", {"store": False})
    page = f"/channels/{channel.id}"
    answer = browser.submit_form(page, f"{page}/edit", base_url=channel.base_url, settings="{}")
    assert "The no-log signal of OpenAI (Responses API) is not sent." in answer.text


def test_a_channel_template_prefills_the_form_and_imports_models_as_disabled(signed_in):
    browser = signed_in("owner")
    page = browser.get("/channels/new?template=anthropic").text
    address = re.search(r'name="base_url"[^>]*value="([^"]+)"', page).group(1)
    settings = unescape(re.search(r'name="settings"[^>]*>([^<]*)<', page).group(1))
    filled = {"name": "claude", "dialect": "anthropic", "base_url": address, "settings": settings, "secret": "sk-ant-1"}
    assert "Channel claude created." in browser.submit_form("/channels/new", "/channels/new", **filled).text
    channel = Channel.get()
    assert (channel.dialect, channel.settings["provider"]) == ("anthropic", "anthropic")
    page = f"/channels/{channel.id}"
    answer = browser.submit_form(page, f"{page}/drafts", markup="25")
    assert "models added, disabled." in answer.text
    rows = list(ChannelModel.select())
    assert rows
    assert {model.status for model in AIModel.select()} == {"disabled"}
    for row in rows:
        price = Price.get(Price.model == row.model)
        assert price.credits_per_1k_output == -(-row.cost_per_1k_output * 125 // 100)
    assert f"{len(rows)} already in the catalog" in browser.submit_form(page, f"{page}/drafts", markup="25").text


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("base_url", "ftp://host", "must look like https://host/v1"),
        ("base_url", "https://user:pass@host/v1", "must not contain a user"),
        ("settings", "{", "not valid JSON"),
        ("settings", "[]", "JSON object"),
        ("settings", '{"a": [NaN]}', "are not valid JSON"),
        ("settings", '{"a": -Infinity}', "are not valid JSON"),
        ("settings", '{"a": 1e999}', "are not valid JSON"),
        ("settings", '{"a": 123456789012345678901234567890}', "are not valid JSON"),
        ("settings", '{"a": "\\ud800"}', "are not valid JSON"),
        ("settings", '{"a":' * 1_900, "not valid JSON"),
        ("settings", '{"a": {"b": ["\\u0000"]}}', "&#39;a&#39; contains a NUL character"),
        ("settings", '{"a\\u0000": 1}', "contains a NUL character"),
        ("name", "", "Enter a name."),
    ],
)
def test_an_invalid_channel_form_shows_what_is_wrong(signed_in, field, value, words):
    answer = signed_in("owner").submit_form("/channels/new", "/channels/new", **{**CHANNEL, field: value})
    assert (answer.status_code, words in answer.text) == (422, True)
    assert "sk-secret" not in answer.text
    assert not Channel.select().exists()


def test_a_model_requires_a_channel_a_price_and_a_unique_id(signed_in):
    browser = signed_in("owner")
    assert browser.get("/models/new").location == "/channels/new"
    factories.channel("https://api.example.com/v1", name="acme")
    unpriced = browser.submit_form("/models/new", "/models/new", **{**MODEL, "input": "0", "output": "0"})
    assert (unpriced.status_code, "must be marked as free" in unpriced.text) == (422, True)
    browser.submit_form("/models/new", "/models/new", **MODEL)
    again = browser.submit_form("/models/new", "/models/new", **MODEL)
    assert (again.status_code, "already exists" in again.text) == (422, True)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", "1e9", "1.5", "0x10", "1" * 30])
def test_a_price_must_be_a_whole_number(signed_in, value):
    factories.channel("https://api.example.com/v1", name="acme")
    answer = signed_in("owner").submit_form("/models/new", "/models/new", **{**MODEL, "input": value})
    assert (answer.status_code, "Enter a whole number" in answer.text) == (422, True)


def test_model_details_are_edited_and_audited(signed_in):
    factories.model("m", factories.channel("https://api.example.com/v1"))
    browser = signed_in("owner")
    values = {
        "description": "Better.",
        "owned_by": "Acme",
        "capabilities": "tools",
        "context_window": "",
        "max_output_tokens": "500",
        "full_hold": "y",
    }
    assert "m updated." in browser.submit_form("/models/id/m", "/models/id/m/edit", **values, free="y").text
    model = AIModel.get()
    assert (model.description, model.max_output_tokens, model.is_free, model.modality) == ("Better.", 500, True, "text->text")
    assert model.full_hold
    assert AuditEntry.get(AuditEntry.action == "model.update").after["max_output_tokens"] == 500


def test_the_deprecation_of_a_model_is_announced(signed_in):
    channel = factories.channel("https://api.example.com/v1")
    factories.model("m-1", channel)
    factories.model("m-2", channel)
    browser = signed_in("owner")
    values = {"deprecated": "2026-01-01", "shutdown": "2030-01-31", "successor": "m-2"}
    refused = browser.submit_form("/models/id/m-1", "/models/id/m-1/deprecation", **{**values, "successor": "nobody"})
    assert (refused.status_code, "No model" in refused.text) == (422, True)
    page = browser.submit_form("/models/id/m-1", "/models/id/m-1/deprecation", **values).text
    assert "Deprecation of m-1 saved." in page
    assert "<dt>Successor</dt><dd>m-2</dd>" in page
    model = AIModel.get_by_id("m-1")
    assert (model.successor, model.shutdown_at) == ("m-2", 1_896_048_000_000)
    assert AuditEntry.get(AuditEntry.action == "model.deprecate").target == "m-1"


def test_an_alias_is_created_edited_and_deleted(signed_in):
    channel = factories.channel("https://api.example.com/v1")
    factories.model("m-1", channel)
    factories.model("m-2", channel)
    browser = signed_in("owner")
    values = {"name": "old/m", "model": "m-1", "deprecated": "", "shutdown": "2030-01-31", "successor": ""}
    for field, value, words in (
        ("model", "nobody", "No model"),
        ("name", "m-2", "is an active model"),
        ("name", "", "Enter the"),
    ):
        refused = browser.submit_form("/aliases/", "/aliases/", **{**values, field: value})
        assert (refused.status_code, words in unescape(refused.text)) == (422, True)
    assert "Alias old/m created." in browser.submit_form("/aliases/", "/aliases/", **values).text
    alias = ModelAlias.get()
    assert (alias.name, alias.model, alias.shutdown_at, alias.successor) == ("old/m", "m-1", 1_896_048_000_000, None)
    assert browser.get("/aliases/").text.count('<button name="action"') == 1
    page = "/aliases/name/old/m"
    changed = {"model": "m-2", "deprecated": "", "shutdown": "", "successor": "m-1"}
    assert "Alias old/m updated." in browser.submit_form(page, f"{page}/edit", **changed).text
    alias = ModelAlias.get()
    assert (alias.model, alias.deprecated_at, alias.shutdown_at, alias.successor) == ("m-2", None, None, "m-1")
    assert browser.submit_form(page, f"{page}/edit", **{**changed, "model": "old/m"}).status_code == 422
    assert "Alias old/m deleted." in browser.submit_form(page, f"{page}/delete").text
    assert browser.get(page).status_code == 404
    entries = AuditEntry.select().where(AuditEntry.target == "old/m").order_by(AuditEntry.id)
    assert [entry.action for entry in entries] == ["alias.create", "alias.update", "alias.delete"]


@pytest.mark.parametrize("id", ["new", "selected", "export.csv", "selected/disable", "id/m"])
def test_models_and_aliases_may_be_named_like_other_pages(signed_in, id):
    """The pages of both begin with a part of the path that no other page has."""
    factories.model(id, factories.channel("https://api.example.com/v1"))
    create_alias(f"{id}/alias", id, origin=ORIGIN)
    browser = signed_in("owner")
    page = re.search(r'class="row" href="([^"]+)"', browser.get("/models/").text)
    assert page is not None
    assert f"<title>{id} " in browser.get(page[1]).text
    assert f"{id} disabled." in browser.submit_form(page[1], f"{page[1]}/disable").text
    assert AIModel.get().status == "disabled"
    page = re.search(r'class="row" href="([^"]+)"', browser.get("/aliases/").text)
    assert page is not None
    assert f"Alias {id}/alias deleted." in browser.submit_form(page[1], f"{page[1]}/delete").text


def test_no_page_hides_that_of_an_id_which_people_choose(app):
    rules = [rule.rule for rule in app.url_map.iter_rules() if not rule.rule.endswith("filename>")]
    parents = {rule.partition("<path:")[0] for rule in rules if "<path:" in rule}
    assert parents == {"/models/id/", "/aliases/name/"}
    assert [rule for rule in rules for parent in parents if rule.startswith(parent) and "<path:" not in rule] == []


def test_a_second_route_is_added_edited_and_removed(signed_in):
    factories.model("m", factories.channel("https://a.example.com/v1", name="a"), input=100, output=300)
    factories.channel("https://b.example.com/v1", name="b")
    browser = signed_in("support")
    values = {"channel": "b", "upstream_model": "", "priority": "1", "weight": "3", "cost_input": "80", "cost_output": ""}
    assert "Channel b serves m" in browser.submit_form("/models/id/m", "/models/id/m/routes", **values).text
    route = ChannelModel.get(ChannelModel.priority == 1)
    assert (route.upstream_model, route.weight, route.cost_per_1k_input) == ("m", 3, 80)
    assert "Margin on b" in browser.get("/models/id/m").text
    page = f"/routes/{route.id}"
    browser.submit_form(page, page, upstream_model="acme-m", priority="0", weight="5", cost_input="120", cost_output="250")
    route = ChannelModel.get_by_id(route.id)
    assert (route.upstream_model, route.priority, route.weight, route.cost_per_1k_output) == ("acme-m", 0, 5, 250)
    assert AuditEntry.select().where(AuditEntry.action == "model.channel").count() == 3
    browser.submit_form(page, f"{page}/remove")
    assert [row.channel.name for row in ChannelModel.select()] == ["a"]
    assert browser.get(page).status_code == 404


def test_a_channel_is_paused_and_resumed(signed_in):
    channel = factories.channel("https://a.example.com/v1", name="a")
    browser, page = signed_in("support"), f"/channels/{channel.id}"
    answer = browser.submit_form(page, f"{page}/pause", minutes="30", reason="Their status page is red")
    assert "Their status page is red" in answer.text
    assert 29 * 60_000 < Channel.get().out_until - now_ms() <= 30 * 60_000
    assert "paused" in browser.get("/channels/").text
    assert browser.submit_form(page, f"{page}/resume").status_code == 200
    assert (Channel.get().out_until, Channel.get().out_reason) == (None, None)
    assert browser.submit_form(page, f"{page}/pause", minutes="99999", reason="x").status_code == 422


def test_only_owners_change_the_base_url_of_a_channel(signed_in):
    channel = factories.channel("https://a.example.com/v1", name="a")
    page = f"/channels/{channel.id}"
    owner = signed_in("owner")
    assert owner.submit_form(page, f"{page}/edit", base_url="https://c.example.com/v1", settings='{"a": 1}').status_code == 200
    assert (Channel.get().base_url, Channel.get().settings) == ("https://c.example.com/v1", {"a": 1})
    support = signed_in("support")
    assert f"{page}/edit" not in support.get(page).text
    answer = support.post(
        f"{page}/edit", {**support.form("/", "/logout"), "base_url": "https://evil.example.com", "settings": "{}"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (default_script, "Works."),
        (error_response(401), "the secret is invalid"),
        (error_response(404), "the URL or model does not exist"),
        (error_response(422), "Status 422: the provider rejected the request"),
        (error_response(503), "Status 503: the provider failed; try again later"),
        (html_response(), "does not match the dialect"),
    ],
)
def test_a_channel_test_makes_one_tiny_call(signed_in, upstream, answer, words):
    channel = factories.channel(upstream.url, name="acme")
    factories.model("m", channel, upstream_model="acme-m")
    upstream.script(answer)
    page = f"/channels/{channel.id}"
    assert words in signed_in("support").submit_form(page, f"{page}/test").text
    (call,) = upstream.calls
    assert (call.json["model"], call.json["max_tokens"]) == ("acme-m", 16)
    assert call.headers["authorization"] == f"Bearer {factories.UPSTREAM_SECRET}"


def test_all_enabled_channels_are_tested_and_unreachable_ones_are_reported(signed_in, upstream):
    factories.model("m", factories.channel(upstream.url, name="good"), factories.channel("http://127.0.0.1:9", name="gone"))
    factories.channel(upstream.url, name="idle")
    page = signed_in("owner").submit_form("/channels/", "/channels/test").text
    assert page.count("Works.") == page.count("Connection failed.") == 1
    assert len(upstream.calls) == 1


def test_models_imported_from_a_provider_list_are_unpriced_and_disabled(signed_in, upstream):
    channel = factories.channel(upstream.url, name="acme")
    factories.model("model-2", channel)
    rows = [{"id": "model-1"}, {"id": "model-2"}, {"id": "no good"}, {"id": "model-1"}]
    upstream.default = lambda _: json_response({"object": "list", "data": rows})
    browser, page = signed_in("owner"), f"/channels/{channel.id}"
    answer = browser.submit_form(page, f"{page}/import")
    assert "1 models added without a price" in answer.text
    assert "1 already in the catalog, unchanged." in answer.text
    made = AIModel.get_by_id("model-1")
    assert (made.status, made.prices.count(), made.channels.get().upstream_model) == ("disabled", 0, "model-1")
    asked = upstream.requests[-1]
    assert (asked.method, asked.path, asked.headers["authorization"]) == (
        "GET",
        "/v1/models",
        f"Bearer {factories.UPSTREAM_SECRET}",
    )
    assert AuditEntry.get(AuditEntry.action == "model.import").after == {"models": ["model-1"]}


@pytest.mark.parametrize(
    ("answer", "words"), [(error_response(401), "the secret is invalid"), (html_response(), "not a model list")]
)
def test_an_unusable_provider_list_changes_nothing(signed_in, upstream, answer, words):
    channel = factories.channel(upstream.url, name="acme")
    upstream.default = lambda _: answer
    page = f"/channels/{channel.id}"
    assert words in signed_in("owner").submit_form(page, f"{page}/import").text
    assert not AIModel.select().exists()


def test_a_channel_shows_its_call_outcomes_and_unused_models_can_be_listed(signed_in):
    channel = factories.channel("https://a.example.com/v1", name="busy")
    factories.model("called", channel)
    factories.model("forgotten", channel)
    account, now = factories.account(), now_ms()
    for number in range(10):
        UsageLedger.create(
            account=account,
            model="called",
            channel=channel.id,
            price=Price.get().id,
            status="failed" if number < 3 else "completed",
            streamed=False,
            created_at=now - 60_000,
            first_token_ms=120,
        )
    browser = signed_in("readonly")
    assert "30.0 %" in browser.get("/channels/").text
    page = browser.get(f"/channels/{channel.id}").text
    assert page.count('data-value="10"') == page.count('data-value="3"') == 1
    unused = browser.get("/models/?show=unused").text
    assert ("forgotten" in unused, ">called<" in unused) == (True, False)


def test_a_trial_call_requires_an_account_and_a_reachable_edge(signed_in):
    account = factories.account()
    factories.model("m", factories.channel("https://a.example.com/v1"))
    browser = signed_in("support")
    unknown = browser.submit_form("/models/id/m", "/models/id/m/try", prompt="Hi", account="nobody@example.com")
    assert (unknown.status_code, "No account" in unknown.text) == (422, True)
    away = browser.submit_form("/models/id/m", "/models/id/m/try", prompt="Hi", account=account.email)
    assert (away.status_code, "No answer from the edge" in away.text) == (422, True)
    assert ApiKey.get().revoked_at is not None


def test_a_trial_submitted_twice_makes_one_call(signed_in):
    account = factories.account()
    factories.model("m", factories.channel("https://a.example.com/v1"))
    browser = signed_in("support")
    values = {**browser.form("/models/id/m", "/models/id/m/try"), "prompt": "Hi", "account": account.email}
    assert "No answer from the edge" in browser.post("/models/id/m/try", values).text
    again = browser.post("/models/id/m/try", values)
    assert (again.status_code, "submitted twice" in again.text) == (422, True)
    assert ApiKey.select().count() == 1  # each trial call creates one key
    token = re.search(r'name="token"[^>]*value="([^"]+)"', again.text[again.text.index("/models/id/m/try") :])
    assert token is not None
    assert "No answer from the edge" in browser.post("/models/id/m/try", {**values, "token": token[1]}).text


def test_margins_are_price_minus_cost():
    class Row:
        def __init__(self, **values):
            self.__dict__.update(values)

    price = Row(credits_per_1k_input=100, credits_per_1k_output=0)
    known = Row(channel=Row(name="a"), cost_per_1k_input=120, cost_per_1k_output=5)
    half = Row(channel=Row(name="b"), cost_per_1k_input=None, cost_per_1k_output=0)
    unknown = Row(channel=Row(name="c"), cost_per_1k_input=None, cost_per_1k_output=None)
    assert margins(price, [known, half, unknown]) == [Margin("a", -20, -5, -20, None), Margin("b", None, 0, None, None)]
    assert margins(None, [known]) == []


def test_prices_are_shown_by_the_kind_of_model(signed_in):
    channel = factories.channel("https://a.example.com/v1")
    media = {"input": 0, "output": 0, "minimum": 10}
    factories.model("video-1", channel, kind="video", per_5_seconds=1_200_000, **media)
    factories.model("voice", channel, kind="speech", per_1k_characters=15_000, **media)
    factories.model("ears", channel, kind="transcription", rates=(Rate("second", 0, 100),), **media)
    factories.model("gpt-test", channel, input=150, output=600, minimum=10)
    browser = signed_in("readonly")
    listed = browser.get("/models/").text.replace(NARROW_SPACE, " ")
    for price in (
        *("240 000 credits per second", "0.24 USD per second", "15 000 credits per 1K characters", "6 000 credits per minute"),
        *("Input 150 000, output 600 000 credits per 1M tokens", "Input 0.15, output 0.60 USD per 1M tokens"),
    ):
        assert f">{price}<" in listed
    page = browser.get("/models/id/video-1").text.replace(NARROW_SPACE, " ")
    assert "A video of 5 seconds: 1 200 000 credits" in page
    assert "tokens" not in page[page.index("<table>") : page.index("Channels")]
    assert "One minute of audio: 6 000 credits" in browser.get("/models/id/ears").text.replace(NARROW_SPACE, " ")
