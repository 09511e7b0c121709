"""Seals the ledger, and also stores the signed document in the media store, so that a copy exists outside the database."""

from __future__ import annotations

import json
from typing import Any

from shared.core.errors import NotFound
from shared.core.settings import Settings
from shared.files.storage import Storage, open_storage
from shared.ledger.seal import read_documents, read_last_document, seal_ledger


def seal_and_store(settings: Settings, now: int) -> dict[str, Any]:
    """Seal all new ledger entries at `now` (ms UTC) and return the signed document.

    Raises `StorageUnavailable` if the finished seal could not be stored in the media store; then call `store_seals` later.
    """
    document = seal_ledger(now, settings.secret_key, settings.edge_url)
    store_seals(open_storage(settings))
    return document


def store_seals(storage: Storage) -> int:
    """Store the seals that the media store lacks, such as those made while it was unavailable. Returns their number.

    Seals are stored in order, so all seals before a stored one are stored. Raises `StorageUnavailable`.
    """
    last = read_last_document()
    first = 1 if last is None else last[0]["head"]["number"] + 1
    while first > 1 and not _is_stored(storage, first - 1):
        first -= 1
    count = 0
    while documents := read_documents(first + count):
        for document, _ in documents:
            storage.put_document(_name(document["head"]["number"]), json.dumps(document).encode())
            count += 1
    return count


def _is_stored(storage: Storage, number: int) -> bool:
    try:
        storage.get_document(_name(number))
    except NotFound:
        return False
    return True


def _name(number: int) -> str:
    return f"ledger-heads/{number:08}.json"
