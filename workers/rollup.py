"""Usage that is summed up later: what the console's figures come from."""

from __future__ import annotations

import logging

from shared.core.clock import now_ms
from shared.core.database import database, drop_connection
from shared.rollup import roll
from workers.scheduler import Periodic

log = logging.getLogger("yout.worker.rollup")

ROLL_SECONDS = 30.0
LONGEST_SECONDS = 5.0  # the clock has other work too; what is left is done on the next beat


def _roll_on_the_beat() -> None:
    try:
        rolled = roll(now_ms(), LONGEST_SECONDS)
    except BaseException:
        drop_connection()
        raise
    database.close()
    if not rolled.up_to_date:
        log.info("summed up %d hours of usage; there are more", rolled.hours)


PERIODIC = (Periodic("the sums of the usage", ROLL_SECONDS, _roll_on_the_beat),)
