"""The services of one edge process, created at startup, shared by all requests, closed at shutdown."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cached_property, partial
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from edge.http.cors import Cors
from edge.http.request_body import BodyBudget, BodyReader
from edge.identity import revocation_watcher
from edge.identity.abandoned_call_limits import AbandonedCalls
from edge.identity.admin_keys import AdminKeys
from edge.identity.invalid_key_limits import RefusedKeys
from edge.identity.keys import Keys
from edge.identity.sessions import Sessions
from edge.store.call_log import CallLog
from edge.store.database_reader import DatabaseReader
from edge.store.database_writer import DatabaseWriter, WriterThread
from edge.store.inflight import InflightCalls
from edge.store.job_poller import JobPoller
from edge.store.kept_answers import KeptAnswers
from edge.store.large_bodies import LargeBodies
from edge.store.ledger_batcher import LedgerBatcher
from edge.store.limiter import Limiter
from edge.store.metrics import Metrics
from edge.store.model_health import ModelHealth
from edge.store.output_sizes import OutputSizes
from edge.store.sharded_ledger import ShardedLedger
from edge.store.token_counter import TokenCounter
from edge.store.token_counts import TokenCounts
from edge.store.token_sampling import TokenSampling
from shared.billing.request_shape import RequestShape
from shared.catalog import reader
from shared.catalog.failover import RouteHealth
from shared.catalog.snapshot import EMPTY_CATALOG, Catalog
from shared.core.availability import DATABASE
from shared.core.clock import new_id, now_ms
from shared.core.database import database, is_sqlite
from shared.core.database_errors import describe_error
from shared.core.errors import DatabaseUnavailable, ServerStopping, SettingsError
from shared.core.log_format import writes_json
from shared.core.secrets import derive_key, unseal
from shared.core.settings import Settings
from shared.core.shards import is_distributed
from shared.files.storage import Storage, open_storage
from shared.identity import pseudonyms
from shared.identity.hash_queue import HashQueue
from shared.identity.login_throttle import Throttle
from shared.job_queue import JobQueue
from shared.ledger import VisitorSettings
from shared.ledger.probe import probe_writes
from shared.ledger.request_shapes import RequestShapes, save_shape
from shared.ledger.sweep import HEARTBEAT_MS
from shared.models import Account, EdgeProcess
from transport.http_client import ADDED_HEADERS, HttpClient

if TYPE_CHECKING:
    from edge.store.tracing import Tracer
    from shared.openid.sign_in import OpenIdSignIn

log = logging.getLogger("yout.edge")

CATALOG_POLL_SECONDS = 1.0
CATALOG_MAX_AGE_SECONDS = 600.0  # the sizes of recent outputs change without a new catalog version
STOP_SECONDS = 4.0  # time for the last settlements, after draining
CHECK_SECONDS = 1.0
CHECK_ANSWER_SECONDS = 2.0


def _open_tracer(settings: Settings) -> Tracer:
    """Return the tracer. Imports its library only when needed. Raises `SettingsError` if the library is not installed."""
    try:
        from edge.store.tracing import Tracer
    except ImportError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs packages that are not installed; run `pip install -r requirements/otel.txt`."
        ) from None
    return Tracer(settings)


def _open_identity_providers(settings: Settings) -> dict[str, OpenIdSignIn]:
    """Return the sign-ins through identity providers, by their name in URLs. Imports their library only when needed."""
    if not (settings.oidc_issuer or settings.github_client_id):
        return {}
    from shared.openid.sign_in import customer_sign_in, github_sign_in

    found = {"oidc": customer_sign_in(settings), "github": github_sign_in(settings)}
    return {name: provider for name, provider in found.items() if provider is not None}


class DatabaseState(NamedTuple):
    """Whether the database responds, and whether it accepts writes."""

    responds: bool
    accepts_writes: bool


class Services:
    """Create with `await Services.start(settings)`. The database must be bound and migrated."""

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.cors = Cors(settings.cors_origins)
        self.process_id = new_id()
        self.catalog: Catalog = EMPTY_CATALOG
        self.health = RouteHealth()
        self.database_reader = DatabaseReader("reader", metrics=self.metrics)
        self.slow_reader = DatabaseReader(
            "slow-reader", threads=2, keeps_connection=False, metrics=self.metrics
        )  # a separate reader for slow queries, so that key look-ups do not wait for them
        self.counter = TokenCounter()
        self.count_tokens = self.counter.count
        self.limiter = Limiter(settings.redis_url, settings.call_seconds, self.metrics)
        self.kept_answers = KeptAnswers(settings.redis_url, self.limiter)
        self.abandoned = AbandonedCalls(self.limiter, settings.abandoned_calls_rpm)
        refused_keys = RefusedKeys(settings, self.limiter)
        self.keys = Keys(settings, self.database_reader, refused_keys)
        self.large_bodies = LargeBodies()
        self.bodies = BodyReader(BodyBudget(settings.max_unread_bytes), settings.max_body_bytes)
        self.visitors = VisitorSettings(settings.visitor_pool_credits, settings.visitor_daily_credits)
        self.ledger = LedgerBatcher(self.visitors, self.metrics)  # `start` replaces it if the database is distributed
        # SQLite has one writer at a time, so its other writes run in the ledger's thread.
        self.database_writer = self.ledger.writer if is_sqlite() else DatabaseWriter(WriterThread("writer"))
        self.admin_keys = AdminKeys(self.database_reader, self.database_writer, refused_keys)
        self.hashes = HashQueue()
        self.sessions = Sessions(settings, self.database_reader, self.database_writer)
        self.throttle = Throttle(settings.secret_key, settings.redis_url)
        self.identity_providers = _open_identity_providers(settings)
        self.http = HttpClient(connect_timeout=settings.upstream_connect_seconds)
        self.job_queue = JobQueue(settings.broker_url)
        self.job_poller = JobPoller(self.database_reader.read)
        self.tracer = _open_tracer(settings) if settings.otlp_endpoint else None
        self.call_log = CallLog(json=writes_json(settings))
        self.inflight = InflightCalls()
        self.token_counts = TokenCounts(self.count_tokens)
        self.output_sizes = OutputSizes()
        self.model_health = ModelHealth(self.slow_reader)
        self.token_sampling = TokenSampling()
        self.request_shapes = RequestShapes(ADDED_HEADERS, self._save_shape)
        self.tight_accounts: set[UUID] = set()  # accounts (or visitors) whose latest call held less than its bound
        self._background: set[asyncio.Task[Any]] = set()
        self._catalog_loaded_at = 0.0
        self._secrets: dict[str, str] = {}
        self._pseudonym_key = derive_key(settings.secret_key, pseudonyms.PURPOSE)
        self._loops: list[asyncio.Task[None]] = []
        self._stop_by: float | None = None
        self._database_check: asyncio.Task[DatabaseState] | None = None
        self._checked_at = 0.0

    @classmethod
    async def start(cls, settings: Settings, metrics: Metrics | None = None) -> Services:
        """Load the catalog, register the process, and start polling. Raises `DatabaseUnavailable`."""
        services = cls(settings, metrics)
        await services._load_catalog()
        if await services.database_reader.read(is_distributed):
            await services.ledger.close(1)  # it has nothing to do yet
            services.ledger = ShardedLedger(services.database_reader, services.visitors, services.metrics)
        await services.ledger.writer.run(services._register)
        loops = (
            services._poll_catalog(),
            services._heartbeat(),
            revocation_watcher.watch(services.inflight, services.database_reader.read, settings.call_seconds),
        )
        services._loops = [asyncio.create_task(loop) for loop in loops]
        return services

    async def close(self) -> None:
        """Settle running calls, unregister the process, and close everything, until the shutdown deadline."""
        clock = asyncio.get_running_loop().time
        ends_at = self._stop_by or clock() + STOP_SECONDS

        def left() -> float:
            return max(0.0, ends_at - clock())

        for loop in self._loops:
            loop.cancel()
        ending = {*self._loops, *self._background}
        if ending:
            await asyncio.wait(ending, timeout=left())
        await asyncio.gather(self.ledger.drain(left()), self.database_writer.drain(left()))
        self.ledger.writer.run(self._unregister)  # this must come last: afterwards the sweeper releases holds that are still open
        await asyncio.gather(self.ledger.close(left()), self.database_writer.close(left()))
        await asyncio.gather(self.limiter.close(), self.http.close(), return_exceptions=True)
        self.kept_answers.close()
        await asyncio.to_thread(self.job_queue.close)
        self.call_log.close()
        if self.tracer is not None:
            closing = Thread(target=self.tracer.close, name="traces", daemon=True)  # not awaited, as the collector may be down
            closing.start()
            await asyncio.to_thread(closing.join, left())
        self.database_reader.close()
        self.slow_reader.close()
        await self.counter.close()
        self.large_bodies.close()
        await asyncio.to_thread(self.hashes.close)
        self.throttle.close()

    async def drain(self, seconds: float) -> None:
        """Wait up to `seconds` for running calls, then cut them off with an error and a partial settlement."""
        self._stop_by = asyncio.get_running_loop().time() + seconds + STOP_SECONDS
        if len(self.inflight):
            self.spawn(self.count_tokens("."))  # starts its process, for calls that will be cut off
        await self.inflight.wait(seconds)
        for call in self.inflight:
            call.abort(ServerStopping())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in a background task, which outlives its request and which `close` awaits."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    @cached_property
    def storage(self) -> Storage:
        """The store of media outputs, opened at first use."""
        return open_storage(self.settings)

    async def balance_of(self, account: UUID) -> int:
        """Return the account's current balance in credits. Raises `DatabaseUnavailable`."""
        return await self.database_reader.read(lambda: int(Account.get_by_id(account).balance))

    def _save_shape(self, shape: RequestShape) -> None:
        """Store a shape beside the call, which does not wait for it."""

        def forget_unless_stored(stored: asyncio.Future[None]) -> None:
            if stored.exception() is not None:
                self.request_shapes.forget(shape.id)

        self.database_writer.run(partial(save_shape, shape)).add_done_callback(forget_unless_stored)

    def secret(self, sealed: str) -> str:
        """Return a channel's decrypted secret. Cached."""
        opened = self._secrets.get(sealed)
        if opened is None:
            opened = self._secrets[sealed] = unseal(sealed, self.settings.secret_key)
        return opened

    def pseudonym(self, account: UUID, channel: UUID, identifier: str) -> str:
        """Return the pseudonym that a provider gets for an identifier: different for each channel and period."""
        period = pseudonyms.period_of(channel, self.settings.pseudonym_days, now_ms())
        return pseudonyms.pseudonym(self._pseudonym_key, account, channel, period, identifier)

    async def check_database(self) -> DatabaseState:
        """Check whether the database responds and accepts writes. The result is cached for one second."""
        now = asyncio.get_running_loop().time()
        if self._database_check is None or (self._database_check.done() and now - self._checked_at >= CHECK_SECONDS):
            self._checked_at = now
            self._database_check = self.spawn(self._check_database())
        return await asyncio.shield(self._database_check)

    async def _check_database(self) -> DatabaseState:
        answers = await self._succeeds(lambda: database.execute_sql("SELECT 1").fetchone(), "respond")
        return DatabaseState(answers, answers and await self._succeeds(probe_writes, "accept writes"))

    async def _succeeds(self, attempt: Callable[[], object], action: str) -> bool:
        try:
            await asyncio.wait_for(self.database_reader.read(attempt), CHECK_ANSWER_SECONDS)
        except Exception as error:  # any failure means not ready
            if not isinstance(error, DatabaseUnavailable):  # the reader reports those
                DATABASE.failed(f"it does not {action}: {describe_error(error.__cause__ or error)}")
            return False
        return True

    async def _load_catalog(self) -> None:
        self.catalog = await self.database_reader.read(reader.load_catalog)
        self._catalog_loaded_at = time.monotonic()
        routes = [route for model in self.catalog.models.values() for route in model.routes]
        self.health.keep_only(route.id for route in routes)
        if any(route.base_url.startswith("https://") for route in routes):
            self.http.prepare_tls()
        self._secrets.clear()

    async def _poll_catalog(self) -> None:
        while True:
            await asyncio.sleep(CATALOG_POLL_SECONDS)
            try:
                stale_at = self.catalog.stale_at
                expired = stale_at is not None and stale_at <= now_ms()
                expired = expired or time.monotonic() - self._catalog_loaded_at > CATALOG_MAX_AGE_SECONDS
                if expired or await self.database_reader.read(reader.read_version) != self.catalog.version:
                    await self._load_catalog()
            except Exception as error:  # keep the last snapshot; the next poll retries
                if not isinstance(error, DatabaseUnavailable):
                    log.warning("failed to load the catalog: %s", type(error).__name__)

    def _register(self) -> None:
        EdgeProcess.create(id=self.process_id, host=socket.gethostname()[:255], pid=os.getpid())

    def _unregister(self) -> None:
        EdgeProcess.delete().where(EdgeProcess.id == self.process_id).execute()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            with suppress(Exception):  # the next one retries
                # Runs in the ledger's thread: if slow writes delayed it, the sweeper would release the holds of running calls.
                await self.ledger.writer.run(self._update_heartbeat)

    def _update_heartbeat(self) -> None:
        if not EdgeProcess.update(seen_at=now_ms()).where(EdgeProcess.id == self.process_id).execute():
            self._register()
