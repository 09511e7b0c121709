"""What one edge process has: made at start-up, handed to every request, closed at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

from edge.http.cors import Cors
from edge.http.request_body import BodyBudget, BodyReader
from edge.identity import revocation_watcher
from edge.identity.abandoned_calls import AbandonedCalls
from edge.identity.keys import Keys
from edge.identity.refused_keys import RefusedKeys
from edge.identity.sessions import Sessions
from edge.store.call_log import CallLog
from edge.store.database_reader import DatabaseReader
from edge.store.inflight import RunningCalls
from edge.store.job_poller import JobWatch
from edge.store.ledger_batcher import LedgerQueue
from edge.store.limiter import Limiter
from edge.store.metrics import Metrics
from shared import tokenizer
from shared.catalog import reader
from shared.catalog.failover import Health
from shared.catalog.snapshot import EMPTY, Catalog
from shared.core.clock import new_id, now_ms
from shared.core.database import database
from shared.core.database_errors import describe
from shared.core.errors import DatabaseUnavailable, Stopping
from shared.core.secrets import derive_key, unseal
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.identity import pseudonyms
from shared.identity.hash_queue import HashQueue
from shared.identity.login_throttle import Throttle
from shared.job_queue import Jobs
from shared.ledger import VisitorTerms
from shared.ledger.probe import probe_writes
from shared.ledger.sweep import HEARTBEAT_MS
from shared.models import EdgeProcess
from transport.http_client import HttpClient

log = logging.getLogger("yout.edge")

CATALOG_POLL_SECONDS = 1.0
COUNTED_AT_ONCE = 100_000  # characters of a text: some tens of milliseconds
STOP_SECONDS = 4.0  # for the last settlements, after the drain time
CHECK_SECONDS = 1.0
CHECK_ANSWER_SECONDS = 2.0


class DatabaseState(NamedTuple):
    """Whether the database answers, and whether it accepts the writes of a call."""

    answers: bool
    takes_writes: bool


class Services:
    """Make with `await Services.start(settings)`; the database must be bound and current."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cors = Cors(settings.cors_origins)
        self.process_id = new_id()
        self.catalog: Catalog = EMPTY
        self.health = Health()
        self.reader = DatabaseReader("reader")
        self.slow_reader = DatabaseReader(
            "slow-reader", threads=2, keeps_connection=False
        )  # what may take a while, keys never wait for
        self.counter = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self.limiter = Limiter(settings.redis_url, settings.call_seconds)
        self.abandoned = AbandonedCalls(self.limiter, settings.abandoned_calls_rpm)
        self.keys = Keys(settings, self.reader, RefusedKeys(settings, self.limiter))
        self.bodies = BodyReader(BodyBudget(settings.max_unread_bytes), settings.max_body_bytes)
        self.visitors = VisitorTerms(settings.visitor_pool_credits, settings.visitor_daily_credits)
        self.ledger = LedgerQueue(self.visitors)
        self.hashes = HashQueue()
        self.sessions = Sessions(settings, self.reader, self.ledger)
        self.throttle = Throttle(settings.secret_key, settings.redis_url)
        self.http = HttpClient(connect_timeout=settings.upstream_connect_seconds)
        self.jobs = Jobs(settings.redis_url)
        self.storage = open_storage(settings)
        self.watch = JobWatch(self.reader.read)
        self.call_log = CallLog()
        self.metrics = Metrics()
        self.calls = RunningCalls()
        self._background: set[asyncio.Task[Any]] = set()
        self._secrets: dict[str, str] = {}
        self._pseudonym_key = derive_key(settings.secret_key, pseudonyms.PURPOSE)
        self._loops: list[asyncio.Task[None]] = []
        self._stop_by: float | None = None
        self._database_check: asyncio.Task[DatabaseState] | None = None
        self._checked_at = 0.0

    @classmethod
    async def start(cls, settings: Settings) -> Services:
        """Load the catalogue, announce the process, and begin to poll. Raises `DatabaseUnavailable`."""
        services = cls(settings)
        await services._load_catalog()
        announced = await services.ledger.run(services._announce)
        if isinstance(announced, DatabaseUnavailable):
            raise announced
        loops = (
            services._poll_catalog(),
            services._beat(),
            revocation_watcher.watch(services.calls, services.reader.read, settings.call_seconds),
        )
        services._loops = [asyncio.create_task(loop) for loop in loops]
        return services

    async def close(self) -> None:
        """Settle running calls, delete this process's row, and close everything.

        Waits for the database until the stop deadline.
        """
        clock = asyncio.get_running_loop().time
        ends_at = self._stop_by or clock() + STOP_SECONDS
        for loop in self._loops:
            loop.cancel()
        ending = {*self._loops, *self._background}
        if ending:
            await asyncio.wait(ending, timeout=max(0.0, ends_at - clock()))
        self.ledger.run(self._leave)
        await self.ledger.close(max(0.0, ends_at - clock()))
        await asyncio.gather(self.limiter.close(), self.http.close(), return_exceptions=True)
        await asyncio.to_thread(self.jobs.close)
        self.call_log.close()
        self.reader.close()
        self.slow_reader.close()
        self.counter.shutdown()
        await asyncio.to_thread(self.hashes.close)
        self.throttle.close()

    async def drain(self, seconds: float) -> None:
        """Let running calls end for so long; then end them, each with an error and a partial settlement."""
        self._stop_by = asyncio.get_running_loop().time() + seconds + STOP_SECONDS
        await self.calls.wait(seconds)
        for call in self.calls:
            call.cut(Stopping())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in a task of its own, which the end of its request does not cancel and the end of the process awaits."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def count_tokens(self, text: str) -> int:
        """The tokens of `text`, counted piece by piece in a thread, so that a long text does not keep a short one waiting."""
        loop = asyncio.get_running_loop()
        pieces = range(0, len(text), COUNTED_AT_ONCE)
        return sum([await loop.run_in_executor(self.counter, tokenizer.count, text[at : at + COUNTED_AT_ONCE]) for at in pieces])

    def secret(self, sealed: str) -> str:
        """A channel's secret, opened once."""
        opened = self._secrets.get(sealed)
        if opened is None:
            opened = self._secrets[sealed] = unseal(sealed, self.settings.secret_key)
        return opened

    def pseudonym(self, account: UUID, channel: UUID, user: str) -> str:
        """What a vendor sees instead of a caller's user id: the same for the same user, unrelatable between channels."""
        return pseudonyms.pseudonym(self._pseudonym_key, account, channel, user)

    async def check_database(self) -> DatabaseState:
        """Whether the database answers, and accepts the writes of a call. Checked at most once a second for all requests."""
        now = asyncio.get_running_loop().time()
        if self._database_check is None or (self._database_check.done() and now - self._checked_at >= CHECK_SECONDS):
            self._checked_at = now
            self._database_check = self.spawn(self._check_database())
        return await asyncio.shield(self._database_check)

    async def _check_database(self) -> DatabaseState:
        answers = await self._works(lambda: database.execute_sql("SELECT 1").fetchone(), "answer")
        return DatabaseState(answers, answers and await self._works(probe_writes, "accept the writes of a call"))

    async def _works(self, attempt: Callable[[], object], what: str) -> bool:
        try:
            await asyncio.wait_for(self.reader.read(attempt), CHECK_ANSWER_SECONDS)
        except Exception as error:  # any failure means: not ready
            log.warning("the database does not %s: %s", what, describe(error.__cause__ or error))
            return False
        return True

    async def _load_catalog(self) -> None:
        self.catalog = await self.reader.read(reader.load)
        self.health.forget_all_but(route.id for model in self.catalog.models.values() for route in model.routes)
        self._secrets.clear()

    async def _poll_catalog(self) -> None:
        while True:
            await asyncio.sleep(CATALOG_POLL_SECONDS)
            try:
                stale_at = self.catalog.stale_at
                rested = stale_at is not None and stale_at <= now_ms()
                if rested or await self.reader.read(reader.read_version) != self.catalog.version:
                    await self._load_catalog()
            except Exception as error:  # the last snapshot serves on; whatever it was, the next poll tries again
                log.warning("the catalogue could not be read: %s", type(error).__name__)

    def _announce(self) -> None:
        EdgeProcess.create(id=self.process_id, host=socket.gethostname()[:255], pid=os.getpid())

    def _leave(self) -> None:
        EdgeProcess.delete().where(EdgeProcess.id == self.process_id).execute()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            await self.ledger.run(self._say_alive)

    def _say_alive(self) -> None:
        if not EdgeProcess.update(seen_at=now_ms()).where(EdgeProcess.id == self.process_id).execute():
            self._announce()
