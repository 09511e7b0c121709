"""Aliases: validation, audit entries, and the aliases in the catalog's snapshot."""

from __future__ import annotations

from typing import Any

import peewee
import pytest
from playhouse.migrations import Runner

from shared.catalog.reader import load_catalog
from shared.catalog.snapshot import Catalog
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, ModelShutDown, NotFound
from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import AIModel, AuditEntry, CatalogVersion, ModelAlias
from shared.operations import catalog
from shared.operations.model_aliases import create_alias, delete_alias, list_aliases, update_alias
from tests import factories
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")
DAY_MS = 86_400_000
PAST, FUTURE = DAY_MS, 4_000_000_000_000


@pytest.fixture
def models(bound_database: peewee.Database) -> None:
    channel = factories.channel("https://up.example/v1", name="acme")
    for name in ("m-1", "m-2", "off"):
        factories.model(name, channel)
    catalog.set_model_status("off", "disabled", origin=ORIGIN)


def create(name: str, model: str, **fields: Any) -> ModelAlias:
    return create_alias(name, model, **fields, origin=ORIGIN)


def found(snapshot: Catalog, name: str) -> str | None:
    model = snapshot.find(name, now_ms())
    return None if model is None else model.id


@pytest.mark.parametrize(
    ("name", "model", "fields", "error"),
    [
        ("m-1", "m-2", {}, "is an active model"),
        ("first", "m-2", {}, "already exists"),
        ("new", "new", {}, "point to itself: new → new"),
        ("two words", "m-1", {}, "must be 1 to 200 printable"),
        ("new", "m-1", {"successor": "new"}, "another name"),
        ("new", "m-1", {"shutdown_at": PAST, "deprecated_at": PAST + 1}, "must not be before"),
        ("new", "m-1", {"shutdown_at": 10**15}, "before the year 10000"),
    ],
)
def test_invalid_aliases(models: None, name: str, model: str, fields: dict[str, Any], error: str) -> None:
    create("first", "m-1")
    before = (CatalogVersion.get().version, AuditEntry.select().count())
    with pytest.raises(InvalidInput, match=error):
        create(name, model, **fields)
    assert (CatalogVersion.get().version, AuditEntry.select().count()) == before


@pytest.mark.parametrize(("model", "successor"), [("nobody", None), ("m-1", "nobody")])
def test_unknown_models(models: None, model: str, successor: str | None) -> None:
    with pytest.raises(NotFound):
        create("new", model, successor=successor)


def test_an_alias_may_point_to_an_alias_but_never_in_a_cycle(models: None) -> None:
    create("a", "m-1")
    create("b", "a")
    create("c", "b")
    assert [found(load_catalog(), name) for name in "abc"] == ["m-1"] * 3
    for target in "abc":
        with pytest.raises(InvalidInput, match="point to itself"):
            update_alias("a", {"model": target}, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="'b' points to 'a'"):
        delete_alias("a", origin=ORIGIN)
    update_alias("a", {"model": "m-2"}, origin=ORIGIN)
    assert [found(load_catalog(), name) for name in "abc"] == ["m-2"] * 3


def test_a_disabled_models_id_becomes_an_alias_until_it_is_deleted(models: None) -> None:
    create("off", "m-1")
    assert found(load_catalog(), "off") == "m-1"
    with pytest.raises(InvalidInput, match="is an alias"):
        catalog.set_model_status("off", "active", origin=ORIGIN)
    create("new", "m-1")
    with pytest.raises(InvalidInput, match="is an alias"):
        catalog.create_model("new", "acme", catalog.Rates(1, 2), origin=ORIGIN)
    AIModel.update(status="active").where(AIModel.id == "off").execute()
    assert found(load_catalog(), "off") == "off", "a model comes before an alias, whatever the rows say"
    assert "off" not in load_catalog().aliases


def test_every_change_raises_the_version_and_is_audited(models: None) -> None:
    changes = [
        lambda: create("a", "m-1", shutdown_at=FUTURE),
        lambda: update_alias("a", {"model": "m-2", "shutdown_at": None}, origin=ORIGIN),
        lambda: delete_alias("a", origin=ORIGIN),
    ]
    for change in changes:
        before = (CatalogVersion.get().version, AuditEntry.select().count())
        change()
        assert (CatalogVersion.get().version, AuditEntry.select().count()) == (before[0] + 1, before[1] + 1)
    entries = AuditEntry.select().where(AuditEntry.target == "a").order_by(AuditEntry.id)
    assert [entry.action for entry in entries] == ["alias.create", "alias.update", "alias.delete"]
    assert entries[1].after == {"model": "m-2", "shutdown_at": None}
    assert list_aliases() == []
    with pytest.raises(NotFound):
        delete_alias("a", origin=ORIGIN)


def test_an_update_without_changes_changes_nothing(models: None) -> None:
    create("a", "m-1", shutdown_at=FUTURE)
    before = (CatalogVersion.get().version, AuditEntry.select().count())
    update_alias("a", {"model": "m-1"}, origin=ORIGIN)
    assert (CatalogVersion.get().version, AuditEntry.select().count()) == before


def test_a_shutdown_deprecates_the_name_and_ends_those_that_point_to_it(models: None) -> None:
    began = now_ms()
    create("a", "m-1", shutdown_at=FUTURE, successor="m-2")
    create("b", "a")
    create("c", "a", shutdown_at=FUTURE + DAY_MS, deprecated_at=PAST, successor="m-1")
    aliases = load_catalog().aliases
    assert (aliases["a"].successor, aliases["b"].successor, aliases["c"].successor) == ("m-2", "m-2", "m-1")
    assert [aliases[name].shutdown_at for name in "abc"] == [FUTURE] * 3
    assert began <= (aliases["b"].deprecated_at or 0) <= now_ms()
    assert aliases["c"].deprecated_at == PAST
    update_alias("a", {"deprecated_at": PAST, "shutdown_at": PAST}, origin=ORIGIN)
    catalog.set_model_status("m-1", "disabled", origin=ORIGIN)
    with pytest.raises(ModelShutDown, match="was shut down on 1970-01-02") as error:
        load_catalog().find("b", now_ms())
    assert error.value.successor == "m-2"
    assert "Use 'm-2' instead." in str(error.value)


def test_an_alias_of_a_disabled_model_is_not_found(models: None) -> None:
    create("a", "off")
    assert (found(load_catalog(), "a"), found(load_catalog(), "nobody")) == (None, None)


def test_the_migration_creates_the_table_and_can_be_undone(bound_database: peewee.Database) -> None:
    Runner(bound_database, str(MIGRATIONS)).down("0020_add_model_aliases")
    assert "model_alias" not in bound_database.get_tables()
    assert "0020_add_model_aliases" in migrate(bound_database)
    with pytest.raises(peewee.IntegrityError), bound_database.atomic():
        ModelAlias.create(name="a", model="a")
