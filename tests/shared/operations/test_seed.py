"""The seed: complete the first time, nothing the second time, and never against staff."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.models import AIModel, AuditEntry, Channel, ChannelModel, Price
from shared.operations.catalogue import set_model_status, set_price, update_channel
from shared.operations.seed import LOCAL_MODELS, seed_catalogue
from shared.settings import Settings

pytestmark = pytest.mark.usefixtures("bound_database")


def test_a_second_seed_adds_nothing(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(local_port=4_001)
    names = {model.id for model in LOCAL_MODELS}
    assert set(seed_catalogue(settings)) == {"local", *names}
    assert seed_catalogue(settings) == []
    assert {row.id for row in AIModel.select()} == names
    assert {row.id for row in AIModel.select() if row.is_free} == {"demo-echo", "smollm2-135m-instruct"}
    assert {row.model_id for row in ChannelModel.select()} == {row.model_id for row in Price.select()} == names
    assert Channel.get().base_url == "http://127.0.0.1:4001/v1"
    assert {row.actor for row in AuditEntry.select()} == {"seed"}


def test_every_kind_of_model_is_offered_at_its_kind_of_price(make_settings: Callable[..., Settings]) -> None:
    seed_catalogue(make_settings())
    assert {row.kind for row in AIModel.select()} == {"chat", "embedding", "image", "video", "speech"}
    prices = {row.model_id: row for row in Price.select()}
    assert prices["demo-image"].credits_per_call == 40_000
    assert prices["demo-video"].credits_per_5_seconds == 1_200_000
    assert prices["demo-speech"].credits_per_1k_characters == 15_000
    assert prices["all-minilm-l6-v2"].credits_per_1k_input == 20


def test_an_installation_of_before_gets_what_is_new(make_settings: Callable[..., Settings]) -> None:
    seed_catalogue(make_settings())
    AIModel.delete().where(AIModel.kind != "chat").execute()
    assert seed_catalogue(make_settings()) == ["all-minilm-l6-v2", "demo-image", "demo-video", "demo-speech"]


def test_the_channel_follows_the_port_but_not_against_staff(make_settings: Callable[..., Settings]) -> None:
    seed_catalogue(make_settings(local_port=4_001))
    seed_catalogue(make_settings(local_port=4_002))
    assert Channel.get().base_url == "http://127.0.0.1:4002/v1"
    update_channel("local", base_url="http://model-server:80/v1", actor="grace@example.com")
    seed_catalogue(make_settings(local_port=4_003))
    assert Channel.get().base_url == "http://model-server:80/v1"


def test_what_staff_changed_stays(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    seed_catalogue(settings)
    set_model_status("demo-echo", "disabled", actor="grace@example.com")
    set_price("demo-echo", input=99, output=99, actor="grace@example.com")
    prices = Price.select().count()
    assert seed_catalogue(settings) == []
    assert AIModel.get_by_id("demo-echo").status == "disabled"
    assert Price.select().count() == prices
