"""Checks of this machine: full disks, and files that other users can read."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from shared.core.database_url import sqlite_path
from shared.core.settings import SECRET_KEY_FILE, Settings

GIB = 2**30
LOW_BYTES = GIB  # free space below this is low on any disk,
LOW_PERCENT = 5  # and so is less than this share of the disk,
PLENTY_BYTES = 20 * GIB  # unless at least this much is free
CLEAR_FACTOR = 1.2  # an alert closes only above the thresholds multiplied by this


class DiskSpace(NamedTuple):
    """Space of the file system of `path`, in bytes."""

    path: Path
    free: int
    total: int

    @property
    def percent_free(self) -> float:
        return 100 * self.free / self.total if self.total else 100.0

    def is_low(self, factor: float = 1.0) -> bool:
        """Return whether little space is left, with thresholds multiplied by `factor`."""
        share = self.percent_free < LOW_PERCENT * factor and self.free < PLENTY_BYTES * factor
        return self.free < LOW_BYTES * factor or share


def disk_spaces(settings: Settings) -> list[DiskSpace]:
    """Return the space of the disks of the data folder, the media folder and the SQLite file, one entry per file system."""
    folders = [settings.data_dir]
    if not settings.media_url:
        folders.append(settings.data_dir / "media")
    if settings.uses_sqlite:
        folders.append(Path(sqlite_path(settings.database_url)).absolute().parent)
    found: dict[int, DiskSpace] = {}
    for folder in folders:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(existing)
        found.setdefault(existing.stat().st_dev, DiskSpace(folder, usage.free, usage.total))
    return list(found.values())


def exposed_files(settings: Settings, dotenv: Path = Path(".env")) -> list[Path]:
    """Return the files with secrets that other users of this machine can read."""
    files = [settings.data_dir / SECRET_KEY_FILE, settings.data_dir / "welcome.json", dotenv]
    if settings.uses_sqlite:
        files.append(Path(sqlite_path(settings.database_url)))
    return [path.absolute() for path in files if _others_can_read(path.absolute())]


def _others_can_read(path: Path) -> bool:
    """Return whether all users can read a file, according to the modes of the file and of all its folders."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
    except OSError:
        return False
