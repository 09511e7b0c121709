"""Storage behaves the same on a folder and on an S3-compatible server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from shared.core.clock import now_ms
from shared.core.errors import NotFound, StorageUnavailable
from shared.core.settings import Settings
from shared.files.storage import CHUNK_BYTES, PART_BYTES, Storage, new_key, open_storage
from tests.servers.process import free_port
from tests.servers.s3 import S3Server


@pytest.fixture
def storage(media_settings: Settings) -> Storage:
    return open_storage(media_settings)


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    yield from (data[place : place + size] for place in range(0, len(data), size))


def test_objects_round_trip(storage: Storage) -> None:
    key = new_key()
    assert storage.put(key, b"0123456789") == 10
    assert storage.size(key) == 10
    assert b"".join(storage.get(key)) == b"0123456789"
    assert storage.put(key, b"again") == 5
    assert b"".join(storage.get(key)) == b"again"


async def test_async_reads_return_the_same(storage: Storage) -> None:
    key = new_key()
    storage.put(key, b"0123456789")
    assert await storage.size_async(key) == 10
    assert b"".join([piece async for piece in await storage.get_async(key)]) == b"0123456789"
    assert b"".join([piece async for piece in await storage.get_async(key, 3, 6)]) == b"345"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 4, b"0123"), (4, None, b"456789"), (None, 4, b"0123"), (9, 10, b"9"), (5, 999, b"56789"), (0, None, b"0123456789")],
)
def test_ranges(storage: Storage, start: int | None, end: int | None, expected: bytes) -> None:
    key = new_key()
    storage.put(key, b"0123456789")
    assert b"".join(storage.get(key, start, end)) == expected


def test_a_large_iterable_is_stored_in_parts_and_read_in_pieces(storage: Storage) -> None:
    data = bytes(range(256)) * (2 * PART_BYTES // 256 + 77)
    key = new_key()
    assert storage.put(key, pieces_of(data, 100_003)) == len(data)
    pieces = list(storage.get(key))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) < 8 * CHUNK_BYTES


@pytest.mark.parametrize("data", [b"", ()])
def test_an_empty_object(storage: Storage, data: bytes) -> None:
    key = new_key()
    assert storage.put(key, data) == 0
    assert storage.size(key) == 0
    assert b"".join(storage.get(key)) == b""


def test_a_failing_source_leaves_nothing(storage: Storage, media_settings: Settings, s3_server: S3Server) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * (PART_BYTES + 1)
        raise ConnectionError("the provider went away")

    key = new_key()
    with pytest.raises(ConnectionError, match="the provider went away"):
        storage.put(key, failing())
    with pytest.raises(NotFound):
        storage.size(key)
    assert list(storage.list()) == []
    if media_settings.media_url:
        bucket = media_settings.media_url.split("/")[2]
        assert b"<Upload>" not in s3_server.request("GET", f"/{bucket}?uploads")[1]
    else:
        assert not [path for path in (media_settings.data_dir / "media").rglob("*") if path.is_file()]


def test_deleting_is_idempotent(storage: Storage) -> None:
    key = new_key()
    storage.put(key, b"x")
    storage.delete(key)
    storage.delete(key)
    with pytest.raises(NotFound):
        storage.get(key)
    with pytest.raises(NotFound):
        storage.size(key)


async def test_a_missing_object_raises_before_the_first_byte(storage: Storage) -> None:
    with pytest.raises(NotFound):
        await storage.get_async(new_key())
    with pytest.raises(NotFound):
        await storage.size_async(new_key())


def test_listing(storage: Storage) -> None:
    before = now_ms()
    keys = sorted(new_key() for _ in range(5))
    for size, key in enumerate(keys):
        storage.put(key, b"x" * size)
    listed = sorted(storage.list())
    assert [(found.key, found.size_bytes) for found in listed] == [(key, size) for size, key in enumerate(keys)]
    # S3 reports whole seconds
    assert all(before - 1_000 <= found.modified_at <= now_ms() + 1_000 for found in listed)
    assert keys[0] in [found.key for found in storage.list(keys[0][:2])]
    assert all(found.key.startswith(keys[0][:2]) for found in storage.list(keys[0][:2]))


@pytest.mark.parametrize(
    "key", ["", "a", "../secret.key", "ab/" + "c" * 63, "AB/" + "c" * 64, "ab/" + "c" * 64 + "\n", "/ab/" + "c" * 64]
)
def test_only_our_own_keys_are_accepted(storage: Storage, key: str) -> None:
    for use in (storage.get, storage.size, storage.delete, lambda key: storage.put(key, b"x")):
        with pytest.raises(ValueError, match="not a storage key"):
            use(key)


def test_documents_have_names_and_are_not_listed(storage: Storage) -> None:
    storage.put_document("reports/prove-cap.json", b"first")
    storage.put_document("reports/prove-cap.json", b"{}")
    assert storage.get_document("reports/prove-cap.json") == b"{}"
    assert list(storage.list()) == []
    with pytest.raises(NotFound):
        storage.get_document("reports/other.json")
    for name in ("reports/../x", "../x", "reports", "ab/" + "0" * 200):
        with pytest.raises(ValueError, match="not a storage key"):
            storage.put_document(name, b"")


def test_keys_are_unguessable_and_valid(storage: Storage) -> None:
    keys = {new_key() for _ in range(1_000)}
    assert len(keys) == 1_000
    assert {len(key) for key in keys} == {67}


def test_an_unreachable_store_is_reported_without_long_retries(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(
        media_url="s3://bucket",
        media_endpoint=f"http://127.0.0.1:{free_port()}",
        media_access_key="hunter2-id",
        media_secret_key="hunter2",
    )
    storage = open_storage(settings)
    begun = time.monotonic()
    for use in (storage.get, storage.size, storage.delete, lambda key: storage.put(key, b"x"), lambda _: list(storage.list())):
        with pytest.raises(StorageUnavailable) as caught:
            use(new_key())
        assert "127.0.0.1" not in str(caught.value)
        assert "hunter2" not in str(caught.value)
    assert time.monotonic() - begun < 120  # the library's default would retry for a quarter of an hour


def test_a_forbidden_bucket_is_unavailable(make_settings: Callable[..., Settings], s3_server: S3Server) -> None:
    settings = make_settings(
        media_url="s3://no-such-bucket-here", media_endpoint=s3_server.url, media_access_key="a", media_secret_key="b"
    )
    with pytest.raises(StorageUnavailable):
        open_storage(settings).put(new_key(), b"x")


def test_the_folder_is_private(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    open_storage(settings)
    assert (settings.data_dir / "media").stat().st_mode & 0o077 == 0


def test_files_of_other_programs_are_not_listed(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    storage, key = open_storage(settings), new_key()
    storage.put(key, b"x")
    folder = settings.data_dir / "media"
    for name in (".DS_Store", f"{key[:2]}/.nfs0001"):
        (folder / name).write_bytes(b"other")
    assert [found.key for found in storage.list()] == [found.key for found in storage.list(key[:2])] == [key]
