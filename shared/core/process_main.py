"""Starts and ends a process: settings, logging, and a one-line message if it cannot start."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

import peewee

from shared.core.database_errors import is_temporary
from shared.core.errors import DatabaseUnavailable, YoutError
from shared.core.log_format import log_formatter
from shared.core.process_lock import share_database
from shared.core.settings import Settings

log = logging.getLogger("yout.process")

EXIT_SECONDS = 5.0  # after the drain time; platforms send SIGKILL at about that time


def run_process(
    name: str, serve: Callable[[Settings], int], log_filter: Callable[[logging.LogRecord], bool] | None = None
) -> int:
    """Load the settings, log to standard error, and call `serve`. Returns the exit code.

    If the process cannot start, prints one line to standard error that begins with `name`. The exit code is then 2 for an invalid
    setting or schema, and 1 for a database that is not available.
    """
    try:
        settings = Settings.load()
        handler = logging.StreamHandler(sys.stderr)
        if log_filter is not None:
            handler.addFilter(log_filter)
        handler.setFormatter(log_formatter(settings, name))
        logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
        logging.getLogger("peewee").setLevel(logging.INFO)  # its debug messages contain stored values
        logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each connection that an outage has broken
        share_database(settings)
        return serve(settings)
    except (peewee.PeeweeException, DatabaseUnavailable) as error:
        if not (isinstance(error, DatabaseUnavailable) or is_temporary(error)):
            raise
        reason = str(error.__cause__ or error)
        print(f"{name}: The database of DATABASE_URL is unavailable: {'; '.join(reason.splitlines())}", file=sys.stderr)
        return 1
    except (YoutError, OSError) as error:  # the message of an OSError contains the file or address
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def start_exit_timer(drain_seconds: float) -> None:
    """End the process `EXIT_SECONDS` after its drain time, even if a thread is still waiting for an unresponsive server."""
    timer = threading.Timer(drain_seconds + EXIT_SECONDS, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    log.error("shutdown took too long and was aborted; a sweep will release remaining holds")
    logging.shutdown()
    os._exit(0)
