"""Seals the ledger, and also stores the signed document in the media store, so that a copy exists outside the database."""

from __future__ import annotations

import json
from typing import Any

from shared.core.errors import NotFound
from shared.core.settings import Settings
from shared.files.storage import Storage, open_storage
from shared.ledger.seal import read_documents, read_last_document, seal_ledger

LATER_SEALS = 10  # to look for in the media store, after the last one in the database


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


def compare_stored_seals(storage: Storage) -> list[str]:
    """Return how the newest seals in the database differ from those in the media store. Raises `StorageUnavailable`.

    A seal names the one before it, so if one seal is the same in both, all before it are.
    """
    last = read_last_document()
    first = last[0]["head"]["number"] if last is not None else 0
    while first > 1 and not _is_stored(storage, first):
        first -= 1
    problems = []
    for number in range(max(first, 1), first + LATER_SEALS + 1):
        stored = _read_stored(storage, number)
        if stored is None:
            continue
        [(found, _)] = read_documents(number, 1) or [({"head": {"number": 0}}, "")]  # read last: it may be new
        if found["head"]["number"] != number:
            problems.append(f"seal {number}: in the media store, but not in the database")
        elif found != stored:
            problems.append(f"seal {number}: not the one in the media store")
    return problems


def _is_stored(storage: Storage, number: int) -> bool:
    return _read_stored(storage, number) is not None


def _read_stored(storage: Storage, number: int) -> Any:
    """Return a seal's document in the media store, None without one, or what else is there."""
    try:
        return json.loads(storage.get_document(_name(number)))
    except NotFound:
        return None
    except ValueError:
        return "not JSON"


def _name(number: int) -> str:
    return f"ledger-heads/{number:08}.json"
