"""Input images of media jobs: encrypted in the storage, and deleted once their job has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from obstore.store import LocalStore

from shared.core.clock import new_id, now_ms
from shared.core.errors import NotFound, SettingsError, StorageUnavailable
from shared.dialects.media import InputFile
from shared.files.storage import Storage, new_key
from shared.media import delete_inputs, load_inputs, store_inputs
from shared.media.inputs import open_input_keys, reencrypt_inputs
from shared.media.retention import delete_ended_inputs
from shared.models import MediaJob
from tests import factories

SECRET = "s" * 40
FILES = (InputFile("image[]", "image/png", b"\x89PNG" + bytes(100)), InputFile("mask", "image/png", b"\x89PNG-mask"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "media"
    made.mkdir()
    return made


@pytest.fixture
def storage(folder: Path) -> Storage:
    return Storage(LocalStore(folder))


class BrokenStorage(Storage):
    def delete(self, key: str) -> None:
        raise StorageUnavailable


def test_files_can_be_read_only_with_the_same_key(storage: Storage, folder: Path) -> None:
    key = store_inputs(FILES, storage, SECRET)
    assert load_inputs(key, storage, SECRET) == FILES
    stored = (folder / key).read_bytes()
    assert not [file for file in FILES if file.data in stored or file.media_type.encode() in stored]
    with pytest.raises(SettingsError):
        load_inputs(key, storage, "t" * 40)
    storage.delete(key)
    with pytest.raises(NotFound):
        load_inputs(key, storage, SECRET)


def test_the_inputs_of_open_jobs_are_encrypted_with_a_new_key(bound_database: Any, storage: Storage) -> None:
    account, new = factories.account(), "t" * 40
    keys = [store_inputs(FILES, storage, secret) for secret in (SECRET, SECRET, new, "u" * 40)]
    for key, ended in zip(keys, (None, now_ms(), None, None), strict=True):
        fields = {
            "kind": "image",
            "model": "m",
            "price": new_id(),
            "credits_held": 0,
            "status": "cancelled" if ended else "queued",
        }
        MediaJob.create(account=account, input_key=key, due_at=0, deadline_at=0, finished_at=ended, **fields)
    found = open_input_keys()
    assert sorted(found) == sorted([keys[0], *keys[2:]])
    assert [reencrypt_inputs([*found, new_key()], storage, SECRET, new) for _ in range(2)] == [1, 0]
    assert load_inputs(keys[0], storage, new) == load_inputs(keys[2], storage, new) == FILES
    with pytest.raises(SettingsError):
        load_inputs(keys[3], storage, new)


def test_only_inputs_of_ended_jobs_are_deleted(bound_database: Any, storage: Storage, folder: Path) -> None:
    account = factories.account()
    jobs = []
    for status in ("running", "cancelled"):
        ended = None if status == "running" else now_ms()
        times = {"due_at": 0, "deadline_at": 0, "finished_at": ended}
        key = store_inputs(FILES, storage, SECRET)
        fields = {"kind": "image", "model": "m", "price": new_id(), "credits_held": 0, "status": status}
        jobs.append(MediaJob.create(account=account, input_key=key, **fields, **times))
    with pytest.raises(StorageUnavailable):
        delete_ended_inputs(BrokenStorage(LocalStore(folder)))
    assert MediaJob.get_by_id(jobs[1].id).input_key is not None  # tried again
    assert (delete_ended_inputs(storage), delete_ended_inputs(storage)) == (1, 0)
    assert load_inputs(jobs[0].input_key, storage, SECRET) == FILES
    delete_inputs(jobs[0], storage)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert MediaJob.select().where(MediaJob.input_key.is_null(False)).count() == 0
