"""The snapshot that edges serve by: who is in it, and when it must be read again without anybody having changed a row."""

from __future__ import annotations

import pytest

from shared.catalog_reader import load
from shared.clock import now_ms
from shared.models import Channel
from shared.operations.routes import rest_channel
from tests import build

pytestmark = pytest.mark.usefixtures("bound_database")


def served_by(model: str) -> list[str]:
    return sorted(route.channel_name for route in load().models[model].routes)


def test_a_resting_channel_is_left_out_until_its_rest_is_over() -> None:
    build.model("m", build.channel("https://a.example.com", name="a"), build.channel("https://b.example.com", name="b"))
    before = load()
    assert (served_by("m"), before.stale_at) == (["a", "b"], None)
    rest_channel("a", 60_000, "maintenance", actor="test")
    resting = load()
    assert resting.version > before.version
    assert served_by("m") == ["b"]
    assert resting.stale_at is not None
    assert 0 < resting.stale_at - now_ms() <= 60_000
    Channel.update(out_until=now_ms() - 1).where(Channel.name == "a").execute()
    assert (served_by("m"), load().stale_at) == (["a", "b"], None)


def test_a_disabled_channel_that_rested_makes_nobody_read_again() -> None:
    build.model("m", build.channel("https://a.example.com", name="a"))
    rest_channel("a", 60_000, "maintenance", actor="test")
    Channel.update(status="disabled").execute()
    assert (served_by("m"), load().stale_at) == ([], None)
