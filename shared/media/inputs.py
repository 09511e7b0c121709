"""Input images of media jobs: one encrypted object in the storage per job, deleted after the job's end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from shared.core.errors import NotFound, SettingsError
from shared.core.secrets import MEDIA_INPUT, seal_bytes, unseal_bytes
from shared.dialects.media import InputFile
from shared.files.storage import Storage, new_key
from shared.models import MediaJob

_decode = msgspec.msgpack.Decoder(tuple[InputFile, ...]).decode


def store_inputs(files: Sequence[InputFile], storage: Storage, secret_key: str) -> str:
    """Store the files encrypted, and return their key. Raises `StorageUnavailable`."""
    key = new_key()
    storage.put(key, seal_bytes(msgspec.msgpack.encode(tuple(files)), secret_key, MEDIA_INPUT))
    return key


def load_inputs(key: str, storage: Storage, secret_key: str) -> tuple[InputFile, ...]:
    """Return the files stored under `key`.

    Raises `NotFound`, `StorageUnavailable`, and `SettingsError` if they were encrypted with another secret key.
    """
    return _decode(unseal_bytes(b"".join(storage.get(key)), secret_key, MEDIA_INPUT))


def open_input_keys() -> list[str]:
    """Return the storage keys of the input images of all jobs that have not ended."""
    rows: Any = MediaJob.select(MediaJob.input_key).where(MediaJob.input_key.is_null(False) & MediaJob.finished_at.is_null())
    return [key for (key,) in rows.tuples()]


def reencrypt_inputs(keys: Sequence[str], storage: Storage, former: str, current: str) -> int:
    """Encrypt the files under `keys` with the secret key `current`, if they are encrypted with `former`. Returns how many were.

    Safe to repeat. Raises `StorageUnavailable`.
    """
    changed = 0
    for key in keys:
        with suppress(NotFound, SettingsError):  # deleted meanwhile, or encrypted with another key
            data = unseal_bytes(b"".join(storage.get(key)), former, MEDIA_INPUT)
            storage.put(key, seal_bytes(data, current, MEDIA_INPUT))
            changed += 1
    return changed


def delete_inputs(job: MediaJob, storage: Storage) -> None:
    """Delete the input images of a job that has ended. Safe to repeat after `StorageUnavailable`."""
    if job.input_key is not None:
        storage.delete(job.input_key)
        MediaJob.update(input_key=None).where(MediaJob.id == job.id).execute()
