"""Run `yout` on an installation in a test's own folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from yout.cli import main

MARKERS = ("YOUT_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY", "PORT", "WEB_CONCURRENCY")


class Finished(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one printed JSON object."""
        [line] = self.out.splitlines()
        data: dict[str, Any] = json.loads(line)
        return data


class Installation:
    """A folder with a database, and the command line that uses it. Ignores the machine's environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(MARKERS)}
        self.environment = {**kept, "YOUT_DATA_DIR": str(folder / "var"), "SECRET_KEY": "0123456789abcdef" * 2, **environment}

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Its SQLite file. The block's changes are committed and the connection is closed, unlike with sqlite3's own context
        manager.
        """
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "yout.db")) as connection, connection:
            yield connection

    def yout(self, *arguments: str, typed: str = "") -> Finished:
        """Run one command with `typed` on standard input. Runs in this process, because starting one takes a second."""
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.folder),
            patch("sys.stdin", io.StringIO(typed)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = main(arguments)
            except SystemExit as end:  # argparse exits after --help
                code = int(end.code or 0)
        return Finished(code, out.getvalue(), err.getvalue())

    def yout_process(self, *arguments: str, typed: str = "") -> Finished:
        """Like `yout`, but in a separate process, as an operator runs it."""
        done = subprocess.run(
            [sys.executable, "-m", "yout", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)
