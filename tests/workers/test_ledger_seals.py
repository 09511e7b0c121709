"""A worker seals the ledger once a day, and stores the statement outside the database."""

from __future__ import annotations

import dataclasses
import json

import peewee
import pytest

from shared.core.billing_periods import DAY_MS
from shared.core.secret_key import SecretKey
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.ledger.dump_check import DumpCheck
from shared.ledger.seal import public_keys, published, read_documents, seal_ledger
from shared.models import LedgerSeal
from shared.operations.ledger_seals import compare_stored_seals, store_seals
from tests import factories
from tests.shared.ledger.test_seal import dump
from workers.ledger_seals import periodic_tasks, seal_if_due

NOON = 20_600 * DAY_MS + DAY_MS // 2
pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


def test_one_seal_a_day(bound_database: peewee.Database, media_settings: Settings) -> None:
    factories.account()
    sealed = [seal_if_due(media_settings, NOON + hours * 3_600_000) for hours in (0, 1, 11, 12, 13)]
    assert sealed == [True, False, False, True, False]
    documents = [document for document, _ in read_documents()]
    stored = [json.loads(open_storage(media_settings).get_document(f"ledger-heads/0000000{number}.json")) for number in (1, 2)]
    assert stored == documents
    assert [document["head"]["leaves"] for document in documents] == [1, 0]


def test_a_seal_that_was_interrupted_is_continued(bound_database: peewee.Database, media_settings: Settings) -> None:
    factories.account()
    LedgerSeal.create(number=1, started_at=NOON)
    assert seal_if_due(media_settings, NOON)
    assert LedgerSeal.select().count() == 1


def test_seals_stay_valid_when_the_secret_key_changes(bound_database: peewee.Database, media_settings: Settings) -> None:
    factories.account()
    changed = dataclasses.replace(media_settings, secret_key=SecretKey("another secret key of 32 characters"))
    for settings, at in ((media_settings, NOON), (changed, NOON + DAY_MS)):
        assert seal_if_due(settings, at)
    heads = published(read_documents(), public_keys(changed.secret_key))
    assert len(heads["keys"]) == 2
    assert list(DumpCheck(heads).run(dump().splitlines(keepends=True))) == []


def test_seals_made_while_the_media_store_was_unavailable_are_stored_later(
    bound_database: peewee.Database, media_settings: Settings
) -> None:
    factories.account()
    storage = open_storage(media_settings)
    assert store_seals(storage) == 0
    for day in range(4):
        seal_ledger(NOON + day * DAY_MS, media_settings.secret_key, media_settings.edge_url)
        if day == 0:
            assert store_seals(storage) == 1  # then it is unavailable for three days
    [task] = periodic_tasks(media_settings)
    task.run()
    stored = [json.loads(storage.get_document(f"ledger-heads/0000000{number}.json")) for number in range(1, 5)]
    assert stored == [document for document, _ in read_documents(0, 4)]
    assert store_seals(storage) == 0


def test_seals_that_were_removed_or_replaced_in_the_database_differ_from_the_stored_ones(
    bound_database: peewee.Database, media_settings: Settings
) -> None:
    factories.account()
    storage = open_storage(media_settings)
    assert compare_stored_seals(storage) == []
    for day in range(3):
        assert seal_if_due(media_settings, NOON + day * DAY_MS)
    assert compare_stored_seals(storage) == []
    seal_ledger(NOON + 3 * DAY_MS, media_settings.secret_key, media_settings.edge_url)  # not stored yet
    assert compare_stored_seals(storage) == []
    LedgerSeal.delete().where(LedgerSeal.number > 1).execute()
    removed = [f"seal {number}: in the media store, but not in the database" for number in (2, 3)]
    assert compare_stored_seals(storage) == removed
    seal_ledger(NOON + 4 * DAY_MS, media_settings.secret_key, media_settings.edge_url)
    replaced = "seal 2: not the one in the media store"
    assert compare_stored_seals(storage) == [replaced, removed[1]]
    LedgerSeal.delete().execute()
    assert len(compare_stored_seals(storage)) == 3
