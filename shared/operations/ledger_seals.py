"""Seals the ledger, and also stores the signed document in the media store, so that a copy exists outside the database."""

from __future__ import annotations

import json
from typing import Any

from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.ledger.seal import read_documents, seal_ledger


def seal_and_store(settings: Settings, now: int) -> dict[str, Any]:
    """Seal all new ledger entries at `now` (ms UTC) and return the signed document.

    Raises `StorageUnavailable` if the finished seal could not be stored in the media store. The next seal stores it, too.
    """
    document = seal_ledger(now, settings.secret_key, settings.edge_url)
    storage = open_storage(settings)
    for latest, _ in read_documents(document["head"]["number"] - 1, 2):
        storage.put_document(f"ledger-heads/{latest['head']['number']:08}.json", json.dumps(latest).encode())
    return document
