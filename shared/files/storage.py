"""Storage of media outputs: a local folder by default, or any S3-compatible store.

Keys are random (`new_key`), so they reveal nothing about owner or content. Media types are in the database, because not every
store can keep them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from shared.core.errors import NotFound, StorageUnavailable
from shared.core.lazy_import import lazy_import
from shared.core.settings import Settings

if TYPE_CHECKING:
    import obstore
    from obstore import GetOptions, GetResult  # these and the next line are only in the library's type stubs
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config, S3Store
else:
    obstore = lazy_import("obstore")  # 5 MB

CHUNK_BYTES = 256 * 1024
"""Approximate size of the pieces that `get` yields."""
PART_BYTES = 5 * 2**20
"""Larger objects are uploaded to S3 in parts of this size, which is S3's minimum."""
_PARTS_AT_ONCE = 2
THUMBNAIL_SUFFIX = "-thumbnail"
"""Ends the key of an image's thumbnail, which is stored in the same folder."""
_KEY = re.compile(rf"[0-9a-f]{{2}}/[0-9a-f]{{64}}({THUMBNAIL_SUFFIX})?")
_DOCUMENT = re.compile(r"[a-z-]{3,40}/[a-z0-9][a-z0-9.-]{0,99}")
# The library's defaults would retry for three minutes while a job or a customer waits.
_RETRY: RetryConfig = {"max_retries": 3}


class StoredObject(NamedTuple):
    """An entry of `list`. `modified_at` is in milliseconds UTC."""

    key: str
    size_bytes: int
    modified_at: int


def new_key() -> str:
    """Return a random key. Its first two characters spread objects over 256 folders."""
    name = secrets.token_hex(32)
    return f"{name[:2]}/{name}"


def open_storage(settings: Settings) -> Storage:
    """Open the store in the settings. Creates a local folder; an S3 bucket must exist and is not checked here."""
    if not settings.media_url:
        folder = create_folder(settings)
        return Storage(obstore.store.LocalStore(folder))
    return Storage(_s3(settings))


def create_folder(settings: Settings) -> Path:
    """Create the local folder of media outputs, if missing, and return its path. Raises `OSError`."""
    folder = settings.data_dir / "media"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class Storage:
    """Bytes by key. Safe to share between threads and with an event loop.

    Methods raise `StorageUnavailable` if the store does not respond or refuses access, and `ValueError` for a malformed key.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def check_writable(self) -> None:
        """Write a byte and delete it."""
        key = new_key()
        with _translated():
            obstore.put(self._store, key, b"0")
            obstore.delete(self._store, key)

    def put(self, key: str, data: bytes | Iterable[bytes]) -> int:
        """Store an object and return its size in bytes. Atomic. An iterable is not held in memory.

        If the iterable raises an exception, it is re-raised and nothing is stored.
        """
        source = data if isinstance(data, bytes) else _Source(data)
        try:
            with _translated():
                obstore.put(self._store, _checked(key), source, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        except (NotFound, StorageUnavailable) as error:
            if isinstance(source, _Source) and source.failure is not None:
                raise source.failure from None
            raise StorageUnavailable from error.__cause__  # not found here means that the bucket is missing
        return len(source) if isinstance(source, bytes) else source.count

    def get(self, key: str, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """Yield the object's bytes from `start` to before `end`. Raises `NotFound` immediately.

        The range must begin before the object's end and contain at least one byte.
        """
        with _translated():
            answer = obstore.get(self._store, _checked(key), options=_range(start, end))
        return self._pieces(answer)

    async def get_async(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """Like `get`, for an event loop: `async for piece in await storage.get_async(key)`."""
        with _translated():
            answer = await obstore.get_async(self._store, _checked(key), options=_range(start, end))
        return self._pieces_async(answer)

    def size(self, key: str) -> int:
        """Return the object's size in bytes. Raises `NotFound`."""
        with _translated():
            return obstore.head(self._store, _checked(key))["size"]

    async def size_async(self, key: str) -> int:
        """Like `size`, for an event loop."""
        with _translated():
            return (await obstore.head_async(self._store, _checked(key)))["size"]

    def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        with _translated(), suppress(FileNotFoundError):
            obstore.delete(self._store, _checked(key))

    def put_document(self, name: str, data: bytes) -> None:
        """Store a document of the installation, such as `reports/prove-cap.json`. `list` leaves it out, so it is kept."""
        with _translated():
            obstore.put(self._store, _checked(name, _DOCUMENT), data)

    def get_document(self, name: str) -> bytes:
        """Return a document. Raises `NotFound`."""
        with _translated():
            return bytes(obstore.get(self._store, _checked(name, _DOCUMENT)).bytes())

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object, or those in one of the 256 folders (`prefix` is the first two characters of the keys).

        Files of other programs, such as `.DS_Store`, are left out.
        """
        with _translated():
            for page in obstore.list(self._store, prefix or None):
                for found in page:
                    if _KEY.fullmatch(found["path"]):
                        yield StoredObject(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))

    def _pieces(self, answer: GetResult) -> Iterator[bytes]:
        with _translated():
            yield from answer.stream(min_chunk_size=CHUNK_BYTES)

    async def _pieces_async(self, answer: GetResult) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield piece


class _Source:
    """Iterates over the pieces of an upload; keeps their total size, and the exception if one was raised."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.count = 0
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces:
                self.count += len(piece)
                yield piece
        except Exception as failure:  # must not be mistaken for an error of the store
            self.failure = failure
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the library's errors to ours. Its messages contain addresses and request ids, so they stay in the cause."""
    try:
        yield
    except FileNotFoundError as missing:
        raise NotFound("The stored object does not exist.") from missing
    except (obstore.exceptions.BaseError, OSError) as error:
        raise StorageUnavailable from error


def _checked(key: str, pattern: re.Pattern[str] = _KEY) -> str:
    if not pattern.fullmatch(key):
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
        "timeout": "1h",  # for a whole transfer; `read_timeout` covers pauses
    }
    prefix = where.path.strip("/") or None
    return obstore.store.S3Store(where.netloc, prefix=prefix, config=config, client_options=client, retry_config=_RETRY)
