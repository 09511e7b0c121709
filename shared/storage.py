"""Storage of media outputs: files on this machine by default, any S3-compatible store by settings, through one library.

A key is made by `new_key`: random, so that it says nothing of whose it is or what it holds. What type an object has is kept in
the database, as not every kind of store can keep it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from shared.errors import NotFound, StorageUnavailable
from shared.settings import Settings

if TYPE_CHECKING:  # they are in the library's stubs alone
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, RetryConfig, S3Config

CHUNK_BYTES = 256 * 1024
"""About how much of an object `get` gives at once."""
PART_BYTES = 5 * 2**20
"""What is larger goes to S3 in parts of this size, the least that S3 takes."""
_PARTS_AT_ONCE = 2
_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")
# The library's own defaults would try for three minutes, with a job or a customer waiting.
_RETRY: RetryConfig = {"max_retries": 3}


class StoredObject(NamedTuple):
    """An object as `list` tells of it. `modified_at` is in milliseconds UTC."""

    key: str
    size_bytes: int
    modified_at: int


def new_key() -> str:
    """A key that nobody can guess. Its first two characters spread objects over 256 folders."""
    name = secrets.token_hex(32)
    return f"{name[:2]}/{name}"


def open_storage(settings: Settings) -> Storage:
    """The store that the settings name. Local folders are made; an S3 bucket must be there, and is not looked for here."""
    if not settings.media_url:
        folder = settings.data_dir / "media"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Storage(LocalStore(folder))
    return Storage(_s3(settings))


class Storage:
    """Bytes by key. Safe to share between threads and with an event loop.

    Every method raises `StorageUnavailable` when the store does not answer or refuses us, and `ValueError` for a key that
    `new_key` could not have made.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def check(self) -> None:
        """Write a byte and delete it again."""
        key = new_key()
        with _translated():
            obstore.put(self._store, key, b"0")
            obstore.delete(self._store, key)

    def put(self, key: str, data: bytes | Iterable[bytes]) -> int:
        """Store an object and give its size in bytes. It appears whole or not at all; an iterable is not held in memory.

        What the iterable raises is raised again, and nothing is stored.
        """
        source = data if isinstance(data, bytes) else _Source(data)
        try:
            with _translated():
                obstore.put(self._store, _checked(key), source, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        except (NotFound, StorageUnavailable) as failure:
            if isinstance(source, _Source) and source.failure is not None:
                raise source.failure from None
            raise StorageUnavailable from failure.__cause__  # what is not found here is the bucket
        return len(source) if isinstance(source, bytes) else source.count

    def get(self, key: str, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start` up to, not including, `end`, piece by piece. Raises `NotFound` at once.

        The range must begin before the object's end and hold a byte at least.
        """
        with _translated():
            answer = obstore.get(self._store, _checked(key), options=_range(start, end))
        return self._pieces(answer)

    async def get_async(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """As `get`, for an event loop: `async for piece in await storage.get_async(key)`."""
        with _translated():
            answer = await obstore.get_async(self._store, _checked(key), options=_range(start, end))
        return self._pieces_async(answer)

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises `NotFound`."""
        with _translated():
            return obstore.head(self._store, _checked(key))["size"]

    async def size_async(self, key: str) -> int:
        """As `size`, for an event loop."""
        with _translated():
            return (await obstore.head_async(self._store, _checked(key)))["size"]

    def delete(self, key: str) -> None:
        """Delete the object. One that is not there is as good as deleted."""
        with _translated(), suppress(FileNotFoundError):
            obstore.delete(self._store, _checked(key))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object, or those in one of the 256 folders (`prefix` is the first two characters of their keys)."""
        with _translated():
            for page in obstore.list(self._store, prefix or None):
                for found in page:
                    yield StoredObject(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))

    def _pieces(self, answer: GetResult) -> Iterator[bytes]:
        with _translated():
            yield from answer.stream(min_chunk_size=CHUNK_BYTES)

    async def _pieces_async(self, answer: GetResult) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield piece


class _Source:
    """Pieces on their way into the store: how many bytes they had, and what they ended with if it was an error."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.count = 0
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces:
                self.count += len(piece)
                yield piece
        except Exception as failure:  # whatever it is: it must not be taken for the store's own
            self.failure = failure
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as ours. Its messages hold addresses and request ids, so they are left in the cause."""
    try:
        yield
    except FileNotFoundError as missing:
        raise NotFound("The stored object is not there (any more).") from missing
    except (BaseError, OSError) as failure:
        raise StorageUnavailable from failure


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key!r}")
    return key


def _range(start: int | None, end: int | None) -> GetOptions:
    if end is not None:
        return {"range": (start or 0, end)}
    return {"range": {"offset": start}} if start else {}


def _s3(settings: Settings) -> S3Store:
    where = urlsplit(settings.media_url)
    config: S3Config = {"region": settings.media_region}
    if settings.media_endpoint:
        config["endpoint"] = settings.media_endpoint
    if settings.media_access_key:
        config["access_key_id"] = settings.media_access_key
        config["secret_access_key"] = settings.media_secret_key
    client: ClientConfig = {
        "allow_http": settings.media_endpoint.startswith("http://"),
        "connect_timeout": "5s",
        "read_timeout": "30s",
        "timeout": "1h",  # of a whole transfer; a silent one ends after `read_timeout`
    }
    return S3Store(where.netloc, prefix=where.path.strip("/") or None, config=config, client_options=client, retry_config=_RETRY)
