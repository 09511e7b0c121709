"""The data folder: private, and used by one `yout up` at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.core.errors import SettingsError

LOCK = "up.lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and hold it for the block. The kernel lets go when this process ends, however it does.

    Raises `SettingsError` while another `yout up` holds it: two would write into the same files.
    """
    make_private(folder)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode() or "unknown"
            raise SettingsError(
                f"Another `yout up` (process {holder}) uses {folder}; stop it, or set YOUT_DATA_DIR to another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter. One that is there keeps its mode."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read, in one step."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)
