"""A small file system of its own, which a test fills up. Needs Linux and, if not run as root, user namespaces."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
_BLOCK = bytes(65_536)


def missing_disk() -> list[str]:
    """Return what this machine lacks for a `SmallDisk`."""
    if sys.platform != "linux":
        return ["Linux"]
    try:
        refused = subprocess.run([*_UNSHARE, "true"], capture_output=True, timeout=30, check=False).returncode
    except FileNotFoundError:
        return ["unshare"]
    return ["user namespaces"] if refused else []


class SmallDisk:
    """A tmpfs in a mount namespace, which ends with this process.

    `path` is its folder. Programs that resolve links, such as SQLite, would use the host's: `/proc/<pid>/root` reads as `/`.
    """

    def __init__(self, size: str) -> None:
        pipe = subprocess.PIPE
        self._holder = subprocess.Popen([*_UNSHARE, "sh"], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        self.path = Path(f"/proc/{self._holder.pid}/root/mnt")
        self._filler = self.path / "filler"
        self._inside(f"mount -t tmpfs -o size={size} tmpfs /mnt")

    def resize(self, size: str) -> None:
        """Change its size, such as `4m`."""
        self._inside(f"mount -o remount,size={size} /mnt")

    def fill(self) -> None:
        """Write a file until there is no space left."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as full:
                if full.errno != errno.ENOSPC:
                    raise

    def clear(self) -> None:
        """Delete the file that `fill` wrote."""
        os.unlink(self._filler)

    def close(self) -> None:
        """End the namespace, and with it the file system."""
        with contextlib.suppress(BrokenPipeError):
            self._holder.communicate(timeout=30)

    def _inside(self, command: str) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(f"{command} && echo done || echo failed\n")
        self._holder.stdin.flush()
        said = self._holder.stdout.readline()
        assert said == "done\n", f"{command}: {said}"
