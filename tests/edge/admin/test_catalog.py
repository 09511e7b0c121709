"""Channels, models, routes and prices in the administration API."""

from __future__ import annotations

from typing import Any, get_args
from urllib.parse import quote

import pytest

from edge.admin.channels import Dialect
from edge.admin.models import Kind
from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidInput
from shared.core.secrets import unseal
from shared.core.timestamps import format_timestamp, parse_timestamp
from shared.models import DIALECTS, MODEL_KINDS, AIModel, AuditEntry, Channel, ChannelModel
from shared.operations.model_aliases import create_alias
from shared.operations.prices_in_force import current_price
from tests.edge.admin.conftest import AdminClient
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY


def name(prefix: str) -> str:
    return f"{prefix}-{new_id().hex[-12:]}"


def new_channel(admin: AdminClient, **fields: Any) -> Any:
    body = {"name": name("channel"), "dialect": "openai", "base_url": "https://api.example.com/v1", **fields}
    made = admin.post("/channels/", body)
    assert made.status == 201, made.body
    return made.json


def new_model(admin: AdminClient, channel: str, **fields: Any) -> Any:
    price = {"credits_per_1k_input": 150, "credits_per_1k_output": 600}
    made = admin.post("/models/", {"id": name("vendor/model"), "channel": channel, "price": price, **fields})
    assert made.status == 201, made.body
    return made.json


def test_the_life_of_a_channel(admin: AdminClient) -> None:
    channel = new_channel(admin, secret="sk-first", settings={"provider": "example"})
    assert channel["has_secret"] is True
    assert channel["settings"]["provider"] == "example"
    path = f"/channels/{channel['id']}/"
    assert admin.get(path).json == admin.get(f"/channels/{channel['name']}/").json == channel
    changed = admin.patch(path, {"base_url": "https://other.example.com/v1/", "secret": "sk-second", "settings": {}}).json
    assert (changed["base_url"], changed["settings"]) == ("https://other.example.com/v1", {})
    row = Channel.get_by_id(channel["id"])
    assert unseal(row.sealed_secret, SECRET_KEY) == "sk-second"
    paused = admin.post(f"{path}pause/", {"seconds": 3600, "reason": "quota"}).json
    assert paused["pause_reason"] == "quota"
    assert now_ms() < parse_timestamp(paused["paused_until"]) <= now_ms() + 3_600_000
    assert admin.post(f"{path}pause/", {"seconds": 0}).json["paused_until"] is None
    assert admin.patch(path, {"status": "disabled"}).json["status"] == "disabled"
    assert channel["id"] in {found["id"] for found in admin.get("/channels/?limit=100").json["channels"]}
    actions = AuditEntry.select(AuditEntry.action).where(AuditEntry.target == channel["name"]).order_by(AuditEntry.id).tuples()
    assert [action for (action,) in actions] == [
        *("channel.create", "channel.update", "channel.secret", "channel.pause", "channel.resume", "channel.status"),
    ]
    assert "sk-second" not in str(list(AuditEntry.select().where(AuditEntry.actor == admin.actor).dicts()))


def test_a_channel_that_is_named_like_the_id_of_another_does_not_replace_it(admin: AdminClient) -> None:
    first = new_channel(admin)
    second = new_channel(admin, name=first["id"])
    path = f"/channels/{first['id']}/"
    assert admin.get(path).json == first
    assert admin.patch(path, {"status": "disabled"}).json["id"] == first["id"]
    changed = admin.patch(f"/channels/{second['id']}/", {"base_url": "https://other.example.com"}).json
    assert (changed["id"], changed["base_url"], changed["status"]) == (second["id"], "https://other.example.com", "active")


def test_the_life_of_a_model(admin: AdminClient) -> None:
    channel = new_channel(admin)
    model = new_model(admin, channel["name"], context_window=128_000, capabilities=["tools"], owned_by="example")
    path = f"/models/{model['id']}/"
    assert admin.get(path).json == model
    assert {**model, "created": ""} == {
        **{"id": model["id"], "status": "active", "kind": "chat", "description": "", "owned_by": "example"},
        **{"context_window": 128_000, "max_output_tokens": None, "modality": "text->text", "capabilities": ["tools"]},
        **{"free": False, "full_hold": False, "successor": None, "deprecated_at": None, "shutdown_at": None, "created": ""},
    }
    changed = admin.patch(path, {"description": "Small", "context_window": None}).json
    assert (changed["description"], changed["context_window"], changed["capabilities"]) == ("Small", None, ["tools"])
    successor = new_model(admin, channel["name"])
    shutdown = format_timestamp(now_ms() + 86_400_000)
    deprecated = admin.patch(path, {"successor": successor["id"], "shutdown_at": shutdown}).json
    assert (deprecated["successor"], deprecated["shutdown_at"]) == (successor["id"], shutdown)
    assert deprecated["deprecated_at"] is not None
    cleared = admin.patch(path, {"successor": None, "shutdown_at": None, "deprecated_at": None, "status": "disabled"}).json
    assert [cleared[field] for field in ("successor", "shutdown_at", "deprecated_at", "status")] == [None, None, None, "disabled"]
    ids = [row["id"] for row in admin.get("/models/?status=disabled&limit=100").json["models"]]
    assert model["id"] in ids
    assert successor["id"] not in ids


def test_model_lists_are_pages(admin: AdminClient) -> None:
    channel = new_channel(admin)["name"]
    made = {new_model(admin, channel)["id"] for _ in range(3)}
    seen: list[str] = []
    path: str | None = "/models/?limit=2"
    while path is not None:
        page = admin.get(path).json
        seen += [row["id"] for row in page["models"]]
        path = f"/models/?limit=2&after={page['next']}" if page["next"] else None
    assert len(seen) == len(set(seen)) == AIModel.select().count()
    assert made <= set(seen)


def test_a_route_is_added_changed_and_deleted(admin: AdminClient) -> None:
    first, second = new_channel(admin), new_channel(admin)
    model = new_model(admin, first["name"])["id"]
    made = admin.post("/routes/", {"model": model, "channel": second["id"], "priority": 1, "upstream_model": "their-name"})
    assert made.status == 201, made.body
    route = made.json
    assert (route["channel"], route["upstream_model"], route["priority"], route["weight"]) == (second["name"], "their-name", 1, 1)
    path = f"/routes/{route['id']}/"
    ChannelModel.update(further_costs=[["cached_input", 0, 5]]).where(ChannelModel.id == route["id"]).execute()
    changed = admin.patch(path, {"weight": 7, "cost_per_1k_input": 100}).json
    assert (changed["weight"], changed["cost_per_1k_input"], changed["upstream_model"]) == (7, 100, "their-name")
    assert ChannelModel.get_by_id(route["id"]).further_costs == [["cached_input", 0, 5]]
    assert admin.get(path).json == changed
    listed = admin.get(f"/routes/?model={model}").json["routes"]
    assert [row["channel"] for row in listed] == [first["name"], second["name"]]
    assert [row["id"] for row in admin.get(f"/routes/?channel={second['name']}").json["routes"]] == [route["id"]]
    assert admin.delete(path).json == changed
    assert admin.get(path).status == admin.delete(path).status == 404


def test_prices_are_set_now_and_later(admin: AdminClient) -> None:
    model = new_model(admin, new_channel(admin)["name"])["id"]
    later = format_timestamp(now_ms() + 3_600_000)
    searches = {"kind": "web_search", "above_tokens": 0, "credits": 10_000}
    long_prompts = {"kind": "input", "above_tokens": 200_000, "credits": 300}
    fields = {"credits_per_1k_input": 200, "credits_per_1k_output": 800, "rates": [searches, long_prompts]}
    made = admin.post("/prices/", {"model": model, "effective_at": later, **fields})
    assert made.status == 201, made.body
    price = made.json
    assert (price["effective_at"], price["minimum_credits"], price["credits_per_1k_cached_input"]) == (later, 10, None)
    assert price["rates"] == [long_prompts, searches]
    assert admin.get(f"/prices/{price['id']}/").json == price
    history = admin.get(f"/prices/?model={model}").json["prices"]
    assert [row["credits_per_1k_input"] for row in history] == [150, 200]
    in_force = current_price(model)
    assert in_force is not None
    assert in_force.credits_per_1k_input == 150
    now = admin.post("/prices/", {"model": model, "credits_per_1k_input": 175, "credits_per_1k_output": 600}).json
    assert parse_timestamp(now["effective_at"]) <= now_ms()


def test_every_dialect_and_kind_can_be_sent() -> None:
    assert get_args(Dialect) == DIALECTS
    assert get_args(Kind) == MODEL_KINDS


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/channels/", {"name": "x", "dialect": "smtp", "base_url": "https://x.example"}, "dialect"),
        ("POST", "/channels/", {"name": "x", "dialect": "openai", "base_url": "ftp://x"}, None),
        ("POST", "/channels/", {"name": "x", "dialect": "openai"}, "base_url"),
        ("POST", "/models/", {"id": "m", "channel": "c", "price": {"credits_per_1k_input": -1}}, "price.credits_per_1k_input"),
        ("POST", "/models/", {"id": "m", "channel": "c"}, "price"),
        ("POST", "/prices/", {"model": "m", "effective_at": "tomorrow"}, "effective_at"),
        ("POST", "/prices/", {"model": "m", "rates": [{"kind": "web_search"}]}, "rates[0].credits"),
        ("POST", "/routes/", {"model": "m", "channel": "c", "weight": 0}, "weight"),
    ],
)
def test_invalid_values_are_refused(admin: AdminClient, method: str, path: str, body: Any, param: str | None) -> None:
    reply = admin.request(method, path, body)
    assert (reply.status, reply.error["param"]) == (400, param), reply.body


def test_a_model_without_a_price_is_refused(admin: AdminClient) -> None:
    channel = new_channel(admin)["name"]
    reply = admin.post("/models/", {"id": name("m"), "channel": channel, "price": {}})
    assert reply.status == 400
    assert "free" in reply.error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/", {"id": "m", "channel": "unknown", "price": {"credits_per_1k_input": 1}}),
        ("/routes/", {"model": "unknown", "channel": "unknown"}),
        ("/prices/", {"model": "unknown", "credits_per_1k_input": 1}),
    ],
)
def test_unknown_references_get_404(admin: AdminClient, path: str, body: Any) -> None:
    assert admin.post(path, body).status == 404


@pytest.mark.parametrize("unusable", [".", "..", "/", "a/b", "/a"])
def test_plans_and_channels_that_no_path_can_name_are_refused(admin: AdminClient, unusable: str) -> None:
    for path, body in (("/plans/", {}), ("/channels/", {"dialect": "openai", "base_url": "https://a.example"})):
        refused = admin.post(path, {"name": unusable, **body})
        assert (refused.status, "addresses" in refused.error["message"]) == (400, True)


@pytest.mark.parametrize("id", [".", "..", "/", "a//b", "/a", "a/", "a/../b", "./a"])
def test_models_that_no_path_can_name_are_refused(admin: AdminClient, id: str) -> None:
    price = {"credits_per_1k_input": 1, "credits_per_1k_output": 1}
    refused = admin.post("/models/", {"id": id, "channel": new_channel(admin)["name"], "price": price})
    assert (refused.status, "between slashes" in refused.error["message"]) == (400, True)
    with pytest.raises(InvalidInput, match="between slashes"):
        create_alias(id, "m", origin=ORIGIN)


def test_names_with_dots_and_slashes_are_found(admin: AdminClient) -> None:
    channel = new_channel(admin)["name"]
    for prefix in ("org/model", "...", "@cf/org/m:8b", "new/"):
        made = new_model(admin, channel, id=name(prefix), upstream_model="../models/x")
        assert admin.get(f"/models/{quote(made['id'])}/").json["id"] == made["id"]
    for prefix in ("50 % off? #", "..."):
        made = admin.post("/plans/", {"name": name(prefix)}).json
        assert admin.get(f"/plans/{quote(made['name'])}/").json["id"] == made["id"]
