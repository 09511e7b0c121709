"""Keep temporary files in memory: tests copy thousands of databases, and every commit to SQLite would wait for the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = Path("/dev/shm")
NEEDED_BYTES = 4 << 30


def use_memory() -> None:
    """Set `TMPDIR`, for this process and those it starts, to a file system in memory. Does nothing if `TMPDIR` is set."""
    if "TMPDIR" not in os.environ and is_suitable(FOLDER):
        os.environ["TMPDIR"] = str(FOLDER)
        tempfile.tempdir = None  # forget the folder found before


def is_suitable(folder: Path) -> bool:
    """Return whether a folder can hold the files of a test run, including programs."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    is_executable = not found.f_flag & os.ST_NOEXEC
    return is_executable and os.access(folder, os.W_OK) and found.f_bavail * found.f_frsize >= NEEDED_BYTES
