"""How a process of the platform begins and ends: settings, logging, and one line for what prevents its start."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from shared.database import LOST_CONNECTION
from shared.errors import DatabaseUnavailable, YoutError
from shared.settings import Settings


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
    except (*LOST_CONNECTION, DatabaseUnavailable) as error:
        reason = str(error.__cause__ or error)
        print(f"{name}: The database of DATABASE_URL refuses: {'; '.join(reason.splitlines())}", file=sys.stderr)
        return 1
    except YoutError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
