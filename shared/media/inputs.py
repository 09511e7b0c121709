"""Input images of media jobs: one encrypted object in the storage per job, deleted after the job's end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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


def delete_inputs(job: MediaJob, storage: Storage) -> None:
    """Delete the input images of a job that has ended. Safe to repeat after `StorageUnavailable`."""
    if job.input_key is not None:
        storage.delete(job.input_key)
        MediaJob.update(input_key=None).where(MediaJob.id == job.id).execute()
