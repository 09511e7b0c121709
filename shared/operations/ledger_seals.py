"""Seals the ledger, and stores the signed document in the media store too, so that it does not depend on the database alone."""

from __future__ import annotations

import json
from typing import Any

from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.ledger.seal import read_documents, seal_ledger


def seal_and_store(settings: Settings, now: int) -> dict[str, Any]:
    """Seal all new ledger entries and return the signed document.

    Raises `StorageUnavailable` if the complete seal could not be stored outside the database. The next one stores it too.
    """
    document = seal_ledger(now, settings.secret_key, settings.edge_url)
    storage = open_storage(settings)
    for latest, _ in read_documents(document["head"]["number"] - 1, 2):
        storage.put_document(f"ledger-heads/{latest['head']['number']:08}.json", json.dumps(latest).encode())
    return document
