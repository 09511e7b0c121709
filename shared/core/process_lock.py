"""A lock file next to the SQLite file: running processes share it, a restore takes it exclusively. The kernel releases it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.core.database_url import sqlite_path
from shared.core.errors import SettingsError
from shared.core.settings import Settings

SUFFIX = ".lock"


def share_database(settings: Settings) -> None:
    """Mark the SQLite file as used until this process ends. Does nothing for PostgreSQL, or if its folder cannot be written.

    Raises `SettingsError` while a backup is being restored there.
    """
    if not settings.uses_sqlite:
        return
    path = Path(sqlite_path(settings.database_url))
    try:
        descriptor = _open(path)  # never closed, and shared by forked processes
    except OSError:  # the startup checks report it
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(f"A backup is being restored to {path}. Start the process again afterwards.") from None


@contextmanager
def exclusive_database(path: Path) -> Iterator[None]:
    """Lock the SQLite file at `path` for the duration of the block. Raises `SettingsError` if a process uses it."""
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"Processes are running on {path}. Stop the edge, the console and the workers first.") from None
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path.with_name(path.name + SUFFIX), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
