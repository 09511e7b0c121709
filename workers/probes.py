"""Scheduled probes that compare channels with reference channels, one at a time in each process."""

from __future__ import annotations

import logging
import time
from random import Random, SystemRandom

from shared.core.clock import now_ms
from shared.core.database import database, is_sqlite
from shared.core.settings import Settings
from shared.operations.model_probes import ClaimedProbe, claim_probe, delete_old, record_failure, record_probe
from shared.probes.client import ProbeClient, ProbeFailed
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.probes")

RUN_SECONDS = 5.0
MAX_SECONDS = 60.0  # of a run; a probe that has begun is completed
RETENTION_SECONDS = 3_600.0


class Probes:
    """Probes of one worker process."""

    def __init__(self, settings: Settings, random: Random) -> None:
        self._random = random
        self._client = ProbeClient(settings, random)

    def run(self, seconds: float = MAX_SECONDS) -> None:
        """Send the probes that are due, for about `seconds`."""
        deadline = time.monotonic() + seconds
        while self.send_next(now_ms()) and time.monotonic() < deadline:
            pass

    def send_next(self, now: int) -> bool:
        """Send the next probe that is due at `now` (ms UTC). Returns whether there was one."""
        probe = claim_probe(now, self._random)
        if probe is None:
            return False
        if not is_sqlite():
            database.close()  # providers may take a minute to answer
        self._send(probe, now)
        return True

    def _send(self, probe: ClaimedProbe, now: int) -> None:
        shape = self._client.shape_for(probe.number, probe.reference, probe.route)
        try:
            result = self._client.probe(shape, probe.reference, probe.route)
        except ProbeFailed as error:
            log.info("a probe of %s was not compared: %s", probe.model, error)
            record_failure(probe.route.channel, probe.model, error.cost, now)
            return
        verdict = record_probe(probe, result, now)
        if verdict == "different":
            log.warning(
                "channel %s serves another model than %s for %s: see its page in the console",
                probe.route.channel_name,
                probe.reference.channel_name,
                probe.model,
            )


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks."""
    probes = Probes(settings, SystemRandom())
    return (
        PeriodicTask("model probes", RUN_SECONDS, task_connection()(probes.run)),
        PeriodicTask("probe retention", RETENTION_SECONDS, task_connection()(lambda: delete_old(now_ms()))),
    )
