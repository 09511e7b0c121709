"""The private data folder, locked so that only one `yout up` uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.core.errors import SettingsError

LOCK = "up.lock"


@contextmanager
def locked_data_folder(folder: Path) -> Iterator[None]:
    """Create the folder if needed and lock it for the duration of the block. The kernel releases the lock if the process dies.

    Raises `SettingsError` if another `yout up` holds the lock: two would write to the same files.
    """
    create_private_folder(folder)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode() or "unknown"
            raise SettingsError(
                f"Another `yout up` (process {holder}) is using {folder}. Stop it, or set YOUT_DATA_DIR to another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def only_rotation(folder: Path) -> Iterator[None]:
    """Lock the folder of the key file for the duration of the block. Raises `SettingsError` if another rotation holds the lock.

    Two at the same time would each write a new key, and values encrypted with the one that is replaced would be lost.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError("Another `yout secret rotate` is running.") from None
        yield
    finally:
        os.close(descriptor)


def create_private_folder(folder: Path) -> None:
    """Create a folder that only its owner can access. An existing folder keeps its mode."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def write_private_file(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner can read it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # so that after a power failure, the file has either the former or the new content
    temporary.replace(path)
