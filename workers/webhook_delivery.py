"""Webhook delivery: posts a finished job or an alert, signed, to a customer's URL, and never to a private address.

Deliveries run on separate threads, so an unresponsive customer server delays neither jobs nor purges. A process runs at most
`MAX_PER_ACCOUNT` and `MAX_PER_HOST` at once, so it does not delay other customers' deliveries either. Due deliveries are
found in rows of the database (`WebhookQueue`); Redis is not involved.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import OutboundFailed, OutboundRefused, SettingsError
from shared.core.failure_report import describe_failure
from shared.core.settings import Settings
from shared.media import webhooks
from shared.media.job_json import job_document
from shared.media.output_urls import signed_output_url
from shared.media.webhooks import DueCallback
from shared.models import MediaJob, MediaOutput
from shared.safe_http import SafeHttpClient, Timeouts, policy_from_settings
from shared.safe_http.url_check import parse_url

log = logging.getLogger("yout.worker.callbacks")

LIMITS = Timeouts(total_seconds=10, idle_seconds=5)
MAX_ANSWER_BYTES = 1_000_000
MAX_IN_FLIGHT = 32
MAX_PER_ACCOUNT = 4
MAX_PER_HOST = 4
HOST_BUSY_MS = 2_000
INTERVAL_SECONDS = 1.0
_PAGE = 200  # due callbacks per query
_ROUND_SECONDS = 3.0  # time limit of one `deliver_due`, shorter than the scheduler's stop timeout


class Delivery(NamedTuple):
    """One attempt to deliver a callback."""

    job: UUID
    account: UUID
    host: str


class DeliverySelection(NamedTuple):
    """The due callbacks to start now, and those postponed because their host is busy."""

    start: list[DueCallback]
    host_busy: list[DueCallback]


def select_deliveries(due: Sequence[DueCallback], in_flight: Collection[Delivery]) -> DeliverySelection:
    """Select from `due`, in order, the callbacks that the three limits allow in addition to those `in_flight`. Pure."""
    accounts = Counter(delivery.account for delivery in in_flight)
    hosts = Counter(delivery.host for delivery in in_flight)
    choice = DeliverySelection([], [])
    for callback in due:
        host = host_of(callback.url)
        if len(in_flight) + len(choice.start) >= MAX_IN_FLIGHT:
            break
        if accounts[callback.account] >= MAX_PER_ACCOUNT:
            continue
        if hosts[host] >= MAX_PER_HOST:
            choice.host_busy.append(callback)
            continue
        accounts[callback.account] += 1
        hosts[host] += 1
        choice.start.append(callback)
    return choice


def host_of(url: str) -> str:
    """Return the host of a callback URL, or "" for a URL that will be rejected."""
    try:
        return parse_url(url).host
    except OutboundRefused:
        return ""


Message = tuple[bytes, dict[str, str]]  # body and headers
Result = Literal["sent", "failed"]  # failed: another attempt would be refused as well


class WebhookQueue(Protocol):
    """Webhooks of one kind. `what` is the noun in log lines. A callback's `job` is the id of the row that is due."""

    what: str

    def due(self, limit: int, excluded_accounts: Collection[UUID]) -> list[DueCallback]: ...

    def claim(self, ids: Sequence[UUID]) -> set[UUID]: ...

    def postpone(self, ids: Sequence[UUID], milliseconds: int) -> None: ...

    def finish(self, id: UUID, result: Result) -> None: ...

    def message(self, id: UUID) -> Message | None:
        """Return the message, or None if the row is gone. Raises `SettingsError` if it cannot be signed."""
        ...


class WebhookDeliverer:
    """The deliveries of one worker process. Call `deliver_due` and `finish` from one thread at a time."""

    def __init__(self, settings: Settings, queue: WebhookQueue | None = None) -> None:
        self._queue = queue or JobCallbacks(settings)
        self._outbound = SafeHttpClient(policy_from_settings(settings))
        self._in_flight: dict[UUID, Delivery] = {}
        self._ended: SimpleQueue[tuple[UUID, Result | None]] = SimpleQueue()

    def deliver_due(self) -> None:
        """Start due deliveries within the limits, and record finished ones. Raises database errors."""
        until = time.monotonic() + _ROUND_SECONDS
        self._note_ended(0)
        while self._start_due() and time.monotonic() < until:
            self._note_ended(INTERVAL_SECONDS)

    def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for running deliveries, so that few are repeated after a restart."""
        until = time.monotonic() + seconds
        while self._in_flight and time.monotonic() < until:
            self._note_ended(until - time.monotonic())

    def _start_due(self) -> int:
        """Start deliveries. Returns how many were started or postponed; 0 means that nothing more can be done now."""
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return 0
        accounts = Counter(delivery.account for delivery in self._in_flight.values())
        full = [account for account, count in accounts.items() if count >= MAX_PER_ACCOUNT]
        due = [callback for callback in self._queue.due(_PAGE, full) if callback.job not in self._in_flight]
        choice = select_deliveries(due, self._in_flight.values())
        if choice.host_busy:
            self._queue.postpone([callback.job for callback in choice.host_busy], HOST_BUSY_MS)
        claimed = self._queue.claim([callback.job for callback in choice.start]) if choice.start else set()
        for callback in choice.start:
            if callback.job in claimed:
                self._start(callback)
        return len(choice.start) + len(choice.host_busy)

    def _start(self, callback: DueCallback) -> None:
        try:
            message = self._queue.message(callback.job)
        except SettingsError as error:
            log.error("webhook of %s %s: cannot sign: %s", self._queue.what, callback.job, error)
            return
        if message is None:  # purged or deleted in the meantime
            return
        self._in_flight[callback.job] = Delivery(callback.job, callback.account, host_of(callback.url))
        arguments = (callback.job, callback.url, *message)
        # A daemon thread: a delivery that has not finished when the process exits is repeated after the restart.
        threading.Thread(target=self._deliver, args=arguments, name="callback", daemon=True).start()

    def _deliver(self, job: UUID, url: str, body: bytes, headers: dict[str, str]) -> None:
        result: Result | None = None
        try:
            result = self._post(job, url, body, headers)
        except Exception as error:  # the slot must be freed after any error
            log.error("webhook of %s %s: unhandled error: %s", self._queue.what, job, describe_failure(error))
        finally:
            self._ended.put((job, result))

    def _post(self, job: UUID, url: str, body: bytes, headers: dict[str, str]) -> Result | None:
        """Post once. Returns None if another attempt is needed. Runs on the delivery's thread, without database access."""
        try:
            with self._outbound.post(url, body, max_bytes=MAX_ANSWER_BYTES, headers=headers, limits=LIMITS) as reply:
                return "sent" if 200 <= reply.status < 300 else None
        except OutboundRefused:
            log.warning("webhook of %s %s: address not allowed", self._queue.what, job)
            return "failed"
        except OutboundFailed:
            return None

    def _note_ended(self, wait_seconds: float) -> None:
        """Record finished deliveries. If any is still running, wait up to `wait_seconds` for the next to finish."""
        wait = wait_seconds if self._in_flight else 0
        while True:
            try:
                job, result = self._ended.get(timeout=wait) if wait > 0 else self._ended.get_nowait()
            except Empty:
                return
            self._in_flight.pop(job, None)
            if result is not None:
                self._queue.finish(job, result)
            wait = 0


class JobCallbacks:
    """The callbacks of media jobs."""

    what = "media job"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def due(self, limit: int, excluded_accounts: Collection[UUID]) -> list[DueCallback]:
        return webhooks.due_callbacks(limit, excluded_accounts=excluded_accounts)

    def claim(self, ids: Sequence[UUID]) -> set[UUID]:
        return webhooks.claim_callbacks(ids)

    def postpone(self, ids: Sequence[UUID], milliseconds: int) -> None:
        webhooks.postpone_callbacks(ids, milliseconds)

    def finish(self, id: UUID, result: Result) -> None:  # noqa: ARG002  (erased either way)
        webhooks.erase_callback(id)

    def message(self, id: UUID) -> Message | None:
        job = MediaJob.get_or_none(MediaJob.id == id)
        if job is None:
            return None
        event = _event(job, self._settings)
        return signed_message(job.__data__["account"], f"evt_{job.id.hex}", event, self._settings.secret_key)


def signed_message(account: UUID, id: str, document: Mapping[str, object], secret_key: str) -> Message:
    """Return the body and the headers of a webhook, signed with the account's secret."""
    with transaction():
        secret = webhooks.get_or_create_secret(account, secret_key)
    body = json.dumps(document).encode()
    return body, {"content-type": "application/json", **webhooks.sign(secret, id, now_ms() // 1000, body)}


def _event(job: MediaJob, settings: Settings) -> dict[str, object]:
    """Return the event to send. It contains download links only if the installation's public URL is configured."""
    outputs = list(MediaOutput.select().where(MediaOutput.job == job.id).order_by(MediaOutput.position))
    shown = outputs if settings.public_url else []
    data = job_document(job, shown, lambda output: signed_output_url(settings.public_url, job, output, settings))
    return {
        "id": f"evt_{job.id.hex}",
        "object": "event",
        "type": f"media.job.{job.status}",
        "created_at": (job.finished_at or 0) // 1000,
        "data": data,
    }
