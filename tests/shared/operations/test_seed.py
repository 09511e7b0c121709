"""Seeding the embedded models: complete at first, idempotent, and never overriding staff changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.core.settings import Settings
from shared.models import AIModel, AuditEntry, Channel, ChannelModel, Price
from shared.operations.audit import Origin
from shared.operations.catalog import add_channel_to_model, create_channel, set_model_status, set_price, update_channel
from shared.operations.prices import Rates
from shared.operations.seed import CHAT_MODEL, LOCAL_MODELS, sync_local_models

GRACE = Origin("grace@example.com")
NAMES = {model.id for model in LOCAL_MODELS}
pytestmark = pytest.mark.usefixtures("bound_database")


def test_a_second_seed_adds_nothing(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(local_port=4_001)
    assert set(sync_local_models(settings, NAMES)) == {"local", *NAMES}
    assert sync_local_models(settings, NAMES) == []
    assert {row.id for row in AIModel.select()} == NAMES
    assert {row.id for row in AIModel.select() if row.is_free} == {"demo-echo", "smollm2-135m-instruct"}
    assert {row.model_id for row in ChannelModel.select()} == {row.model_id for row in Price.select()} == NAMES
    assert Channel.get().base_url == "http://127.0.0.1:4001/v1"
    assert {row.actor for row in AuditEntry.select()} == {"seed"}


def test_every_kind_of_model_is_seeded_with_its_kind_of_price(make_settings: Callable[..., Settings]) -> None:
    sync_local_models(make_settings(), NAMES)
    assert {row.kind for row in AIModel.select()} == {"chat", "embedding", "image", "video", "speech"}
    prices = {row.model_id: row for row in Price.select()}
    assert prices["demo-image"].credits_per_call == 40_000
    assert prices["demo-video"].credits_per_5_seconds == 1_200_000
    assert prices["demo-speech"].credits_per_1k_characters == 15_000
    assert prices["all-minilm-l6-v2"].credits_per_1k_input == 20


def test_an_older_installation_gets_new_models(make_settings: Callable[..., Settings]) -> None:
    sync_local_models(make_settings(), NAMES)
    AIModel.delete().where(AIModel.kind != "chat").execute()
    assert sync_local_models(make_settings(), NAMES) == ["all-minilm-l6-v2", "demo-image", "demo-video", "demo-speech"]


def test_the_channel_follows_the_port_unless_staff_changed_it(make_settings: Callable[..., Settings]) -> None:
    sync_local_models(make_settings(local_port=4_001), NAMES)
    sync_local_models(make_settings(local_port=4_002), NAMES)
    assert Channel.get().base_url == "http://127.0.0.1:4002/v1"
    update_channel("local", base_url="http://model-server:80/v1", origin=GRACE)
    sync_local_models(make_settings(local_port=4_003), NAMES)
    assert Channel.get().base_url == "http://model-server:80/v1"


SETTINGS = {"provider": "local", "data_collection": "deny", "cancel": "free"}


@pytest.mark.parametrize(
    ("before", "by_staff", "after"),
    [
        ({"provider": "local"}, None, SETTINGS),
        ({**SETTINGS, "cancel": "charged"}, None, SETTINGS),
        ({"provider": "local"}, {"provider": "local", "headers": {"a": "b"}}, {**SETTINGS, "headers": {"a": "b"}}),
        (SETTINGS, {"provider": "local", "cancel": "free"}, {"provider": "local", "cancel": "free"}),
        (SETTINGS, {**SETTINGS, "provider": "mine"}, {**SETTINGS, "provider": "mine"}),
    ],
)
def test_the_channel_of_an_earlier_version_gets_new_settings_but_not_against_staff(
    make_settings: Callable[..., Settings], before: dict[str, str], by_staff: dict[str, str] | None, after: dict[str, str]
) -> None:
    sync_local_models(make_settings(), NAMES)
    Channel.update(settings=before).execute()
    if by_staff is not None:
        update_channel("local", settings=by_staff, origin=GRACE)
    sync_local_models(make_settings(), NAMES)
    assert Channel.get().settings == after
    entries = AuditEntry.select().count()
    sync_local_models(make_settings(), NAMES)
    assert AuditEntry.select().count() == entries


def test_a_channel_that_staff_created_keeps_its_settings(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    create_channel("local", "openai", settings.local_base_url, "", secret_key=settings.secret_key, origin=GRACE)
    sync_local_models(settings, NAMES)
    assert Channel.get().settings == {}


def test_staff_changes_are_kept(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    sync_local_models(settings, NAMES)
    set_model_status("demo-echo", "disabled", origin=GRACE)
    set_price("demo-echo", Rates(99, 99), origin=GRACE)
    prices = Price.select().count()
    assert sync_local_models(settings, NAMES) == []
    assert AIModel.get_by_id("demo-echo").status == "disabled"
    assert Price.select().count() == prices


def active() -> set[str]:
    return {row.id for row in AIModel.select() if row.status == "active"}


def test_unavailable_models_are_unlisted_until_available(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert sync_local_models(settings, {"demo-echo"}) == ["local", "demo-echo"]
    sync_local_models(settings, NAMES)
    assert active() == NAMES
    sync_local_models(settings, NAMES - {CHAT_MODEL})
    assert active() == NAMES - {CHAT_MODEL}
    sync_local_models(settings, ())
    assert active() == set()
    sync_local_models(settings, NAMES)
    assert active() == NAMES


def test_without_embedded_models_there_is_no_channel(make_settings: Callable[..., Settings]) -> None:
    assert sync_local_models(make_settings(), ()) == []
    assert (Channel.select().count(), AIModel.select().count()) == (0, 0)


def test_a_model_disabled_by_staff_stays_disabled_when_available_again(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    sync_local_models(settings, NAMES)
    sync_local_models(settings, ())
    set_model_status("demo-echo", "active", origin=GRACE)
    set_model_status("demo-echo", "disabled", origin=GRACE)
    sync_local_models(settings, NAMES)
    assert active() == NAMES - {"demo-echo"}


def test_a_model_with_another_channel_stays_listed(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    sync_local_models(settings, NAMES)
    secret_key = settings.secret_key
    create_channel("other", "openai", "http://model-server:80/v1", "", secret_key=secret_key, origin=GRACE)
    add_channel_to_model("demo-echo", "other", origin=GRACE)
    sync_local_models(settings, ())
    assert active() == {"demo-echo"}
