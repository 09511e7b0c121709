"""The deprecation of a model: validation, audit, and what the catalog serves before and after the shutdown."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from shared.catalog import reader
from shared.catalog.snapshot import Alias
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, ModelShutDown, NotFound
from shared.models import AIModel, AuditEntry
from shared.operations.model_aliases import create_alias
from shared.operations.model_deprecation import deprecate_model
from tests import factories
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")
DAY_MS = 86_400_000
PAST, FUTURE = DAY_MS, 4_000_000_000_000


@pytest.fixture(autouse=True)
def models(bound_database: peewee.Database) -> None:
    channel = factories.channel("https://up.example/v1", name="acme")
    for name in ("old", "new", "newest"):
        factories.model(name, channel)
    factories.model("painter", channel, kind="image", input=0, output=0, per_call=1)
    create_alias("alias", "old", origin=ORIGIN)


def deprecate(model: str = "old", **changes: Any) -> AIModel:
    return deprecate_model(model, changes, origin=ORIGIN)


def served(name: str, at: int | None = None) -> str | None:
    model = reader.load_catalog().find(name, now_ms() if at is None else at)
    return None if model is None else model.id


def test_a_deprecated_model_serves_until_its_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    deprecate(deprecated_at=PAST, shutdown_at=FUTURE, successor="new")
    catalog = reader.load_catalog()
    created = catalog.models["old"].created_at
    assert served("old") == served("alias") == "old"
    assert catalog.notice_of("old") == Alias("old", "old", "new", PAST, FUTURE, created)
    assert catalog.notice_of("alias") == Alias("alias", "old", "new", PAST, None, catalog.aliases["alias"].created_at)
    assert catalog.notice_of("new") is None
    assert catalog.stale_at == FUTURE, "the catalog is read again then"
    monkeypatch.setattr(reader, "now_ms", lambda: FUTURE)
    assert served("old", FUTURE) == served("alias", FUTURE) == "new"
    after = reader.load_catalog()
    assert (after.model_id("old"), after.stale_at) == ("new", None)
    assert after.notice_of("old") == Alias("old", "new", "new", PAST, None, created)


def test_a_model_without_a_successor_is_refused_after_its_shutdown() -> None:
    deprecate(shutdown_at=PAST)
    assert AIModel.get_by_id("old").deprecated_at == PAST
    for name in ("old", "alias"):
        with pytest.raises(ModelShutDown, match=r"was shut down on 1970-01-02\.$"):
            served(name)
    assert served("new") == "new"


def test_a_chain_of_successors() -> None:
    deprecate("old", shutdown_at=PAST, successor="new")
    deprecate("new", shutdown_at=PAST + DAY_MS, successor="newest")
    assert served("old") == served("alias") == served("new") == "newest"
    with pytest.raises(InvalidInput, match="cycle: newest → alias → old → new → newest"):
        deprecate("newest", successor="alias")


def test_a_deprecation_can_be_changed_and_removed() -> None:
    before = now_ms()
    deprecate(successor="new")
    assert AIModel.get_by_id("old").deprecated_at >= before
    deprecate(successor=None, deprecated_at=None)
    assert reader.load_catalog().deprecations == {}
    deprecate(successor=None)
    entries = AuditEntry.select().where(AuditEntry.action == "model.deprecate").order_by(AuditEntry.id)
    assert [entry.after["successor"] for entry in entries] == ["new", None]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"successor": "old"}, "cycle: old → old"),
        ({"successor": "alias"}, "cycle: old → alias → old"),
        ({"successor": "painter"}, "of the kind chat"),
        ({"shutdown_at": PAST, "deprecated_at": FUTURE}, "must not be before"),
        ({"shutdown_at": 10**15}, "before the year 10000"),
    ],
)
def test_invalid_deprecations(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        deprecate(**changes)
    with pytest.raises(NotFound):
        deprecate(successor="nobody")
    assert AIModel.get_by_id("old").deprecated_at is None
