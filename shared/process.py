"""How a process of the platform begins and ends: settings, logging, and one line for what prevents its start."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

import peewee

from shared.database_errors import may_pass
from shared.errors import DatabaseUnavailable, YoutError
from shared.settings import Settings

log = logging.getLogger("yout.process")

EXIT_SECONDS = 5.0  # after the drain time; platforms send SIGKILL about then


def run(name: str, serve: Callable[[Settings], int], log_filter: Callable[[logging.LogRecord], bool] | None = None) -> int:
    """Load the settings, log to standard error, and `serve`; give the exit code.

    What prevents the start is one line on standard error that begins with `name`: 2 for a wrong setting or schema, 1 for a
    database that cannot be reached.
    """
    try:
        settings = Settings.load()
        handler = logging.StreamHandler(sys.stderr)
        if log_filter is not None:
            handler.addFilter(log_filter)
        logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", handlers=[handler])
        logging.getLogger("peewee").setLevel(logging.INFO)  # its debug lines quote every value that is stored
        return serve(settings)
    except (peewee.PeeweeException, DatabaseUnavailable) as error:
        if not (isinstance(error, DatabaseUnavailable) or may_pass(error)):
            raise
        reason = str(error.__cause__ or error)
        print(f"{name}: The database of DATABASE_URL refuses: {'; '.join(reason.splitlines())}", file=sys.stderr)
        return 1
    except (YoutError, OSError) as error:  # the latter names the file or address that the system refused
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def exit_after(drain_seconds: float) -> None:
    """End the process `EXIT_SECONDS` after its drain time, even if a thread still waits for a dead server."""
    timer = threading.Timer(drain_seconds + EXIT_SECONDS, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    log.error("shutdown took too long and was aborted; a later sweep releases what was left")
    logging.shutdown()
    os._exit(0)
