"""Runs one media job: calls the provider, stores the output, and ends the job or releases it until it is due again."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from shared import media
from shared.billing.cost_effects import unpriced_media_field
from shared.billing.pricing import MediaUnits, PriceList, media_charge
from shared.billing.provider_cost import media_cost
from shared.billing.request_shape import RequestShape
from shared.catalog import reader
from shared.catalog.failover import MALFORMED, MAX_COOLDOWN_MS, Failure, Retry
from shared.catalog.snapshot import EMPTY_CATALOG, Catalog, CatalogModel, Route
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.database_errors import is_temporary
from shared.core.errors import NotFound, StorageUnavailable
from shared.core.settings import Settings
from shared.dialects.base import ProviderError, ProviderRequest, Target
from shared.dialects.media import (
    AuthenticatedDownload,
    FileUrl,
    InputFile,
    MalformedAnswer,
    MediaAnswer,
    MediaCall,
    MediaDialect,
    MediaFile,
)
from shared.dialects.openai_media import MEDIA_DIALECTS
from shared.files.storage import Storage, new_key
from shared.ledger.request_shapes import RequestShapes, save_shape
from shared.media import JobResult, Output
from shared.media.thumbnails import thumbnail_key
from shared.models import MediaJob, Plan, Subscription
from shared.safe_http import ADDED_HEADERS
from shared.text.media_types import HEAD_BYTES, detect_media_type
from workers.metrics import WorkerMetrics
from workers.provider_client import OUTPUT_TOO_LARGE, ProviderClient, ProviderFailed
from workers.thumbnails import MAX_IMAGE_BYTES, MIN_IMAGE_BYTES, create_thumbnail

log = logging.getLogger("yout.worker.media")

MAX_ATTEMPTS = 5  # maximum claims of a job; a job is claimed again if a worker died or the provider was busy
MAX_BUSY_PAUSES = 3
BUSY_PAUSE_MS = 5_000
MIN_POLL_MS = 1_000
MAX_POLL_MS = 15_000
DAY_MS = 86_400_000
MEDIA_TYPE_PREFIXES = {"image": "image/", "video": "video/", "speech": "audio/"}
PCM = "audio/pcm"
INPUT_GONE = Failure("storage_unavailable", "input_gone", Retry.NEVER, counts=False)
NO_DIALECT = Failure("no_upstream_available", "no_dialect", Retry.OTHER_ROUTE, counts=False)


class _NotMedia(Exception):
    """The data is not a file of the requested kind."""


class _Result(NamedTuple):
    """The result of a channel: stored files, or a provider job still in progress."""

    outputs: list[Output]
    answer: MediaAnswer
    route: Route


class JobRunner:
    """Runs media jobs in one worker process; thread-safe."""

    def __init__(self, settings: Settings, storage: Storage, sender: ProviderClient, metrics: WorkerMetrics) -> None:
        self.settings = settings
        self.storage = storage
        self.sender = sender
        self.metrics = metrics
        self.request_shapes = RequestShapes(ADDED_HEADERS, _save_shape)
        self._catalog: Catalog = EMPTY_CATALOG

    def model(self, id: str) -> CatalogModel | None:
        """Return the model from the current catalog, or None."""
        if reader.read_version() != self._catalog.version:
            self._catalog = reader.load_catalog()
        return self._catalog.models.get(id)

    def run(self, job: MediaJob, lease_id: UUID) -> None:
        """Run `job`, which is claimed under `lease_id`, as far as possible now. Raises only database outages."""
        attempt = _Attempt(self, job, lease_id)
        try:
            attempt.run()
        except StorageUnavailable:
            attempt.end(JobResult("failed", "storage_unavailable", "storage"))
        except Exception as error:  # any error must end the job; its text is not logged, since it may quote a prompt
            if is_temporary(error):
                attempt.keep_files()
                raise
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("media job %s: unhandled error: %s\n%s", job.id, type(error).__name__, where)
            attempt.end(JobResult("failed", "internal_error", type(error).__name__[:64]))
        finally:
            attempt.tidy()


def _log_fields(job: MediaJob) -> dict[str, object]:
    """Return what the log says about a job."""
    ids = {"job": job.id, "account": job.__data__["account"], "key": job.__data__["api_key"]}
    return {**ids, "model": job.model, "status": job.status, "error": job.error_code}


class _Attempt:
    def __init__(self, maker: JobRunner, job: MediaJob, lease_id: UUID) -> None:
        self._maker, self._job, self._hand = maker, job, lease_id
        self._written: set[str] = set()  # keys of files not yet referenced by a row

    def run(self) -> None:
        job, now = self._job, now_ms()
        model = self._maker.model(job.model)
        price = next((price for price in model.prices if price.id == job.price), None) if model is not None else None
        if now >= job.deadline_at:
            self.end(JobResult("failed", "job_timeout", "deadline"))
        elif job.attempts > MAX_ATTEMPTS:
            self.end(JobResult("failed", "worker_lost", "attempts"))
        elif model is None or price is None or job.sealed_params is None:
            self.end(JobResult("failed", "model_not_found", "catalog"))
        else:
            body = media.decrypt_body(job.sealed_params, self._maker.settings.secret_key)
            try:
                call = MediaCall(job.kind, job.model, body, _units(job), job.options, self._inputs())
                brought = self._ask(call, model)
            except ProviderFailed as error:
                self._fail(error.failure)
            else:
                self._take(brought, call, price)

    def end(self, end: JobResult) -> None:
        """End the job if this attempt still holds it. The files in `end` then belong to the job and are kept."""
        ended = media.finish(self._job, end, lease_id=self._hand)
        if ended is not None:
            self._maker.metrics.record_media_job(ended)
            for output in end.outputs:
                self._written -= {output.storage_key, thumbnail_key(output.storage_key)}
            log.info("media job %s: %s %s", self._job.id, end.status, end.error_code or "", extra=_log_fields(ended))
            try:
                media.delete_inputs(self._job, self._maker.storage)
            except StorageUnavailable:
                log.warning("the input images of an ended job could not be deleted yet")

    def keep_files(self) -> None:
        """Keep the stored files: the end may have been committed although the commit was not confirmed."""
        self._written.clear()

    def tidy(self) -> None:
        """Delete stored files that no row references. What cannot be deleted now is removed by the storage sweep."""
        for key in self._written:
            try:
                self._maker.storage.delete(key)
            except StorageUnavailable:
                log.warning("an unused stored file could not be deleted")

    def _inputs(self) -> tuple[InputFile, ...]:
        if self._job.input_key is None:
            return ()
        try:
            return media.load_inputs(self._job.input_key, self._maker.storage, self._maker.settings.secret_key)
        except NotFound:
            raise ProviderFailed(INPUT_GONE) from None

    # --- calling the provider

    def _ask(self, call: MediaCall, model: CatalogModel) -> _Result:
        """Start the job on one of the model's channels, or poll the provider's job that was started before."""
        sender = self._maker.sender
        if self._job.vendor_job is None:
            routes = [
                route
                for route in model.routes
                if (route.dialect, call.kind) in MEDIA_DIALECTS
                and unpriced_media_field(call.body, call.cost_kind, route.settings) is None
            ]
            if not routes:
                raise ProviderFailed(NO_DIALECT)
            return sender.with_failover(routes, self._job.__data__["account"], partial(self._begin, call))
        route = next((route for route in model.routes if route.channel == self._job.channel), None)
        if route is None:
            raise ProviderFailed(Failure("no_upstream_available", "channel_gone"))
        return self._poll(call, route, self._job.vendor_job)

    def _begin(self, call: MediaCall, route: Route) -> _Result:
        self._job.channel = route.channel
        dialect, target = self._dialect(call, route), self._target(route)
        request = dialect.build_request(call, target)
        account = self._job.__data__["account"]
        shape = self._maker.request_shapes.find(request.fields, request.headers, route.settings, account)
        media.store_request(self._job, sha256(request.body).digest(), shape)
        return self._exchange(dialect, request, call, target)

    def _poll(self, call: MediaCall, route: Route, provider_job: str) -> _Result:
        dialect, target = self._dialect(call, route), self._target(route)
        return self._exchange(dialect, dialect.build_poll_request(provider_job, target), call, target)

    def _exchange(self, dialect: MediaDialect, request: ProviderRequest, call: MediaCall, target: Target) -> _Result:
        def read_error(status: int, data: bytes) -> ProviderError:
            return dialect.parse_error(status, data, call, target)

        with self._maker.sender.open(request, target, read_error) as reply:
            if dialect.body_is_file:
                _reject_text(reply.headers.get("content-type", ""))
                return _Result([self._store(reply)], MediaAnswer(), target.route)
            answer = _read(dialect, reply.read(), target)
        return self._gather(answer, call, target)

    def _dialect(self, call: MediaCall, route: Route) -> MediaDialect:
        dialect = MEDIA_DIALECTS.get((route.dialect, call.kind))
        if dialect is None:
            raise ProviderFailed(NO_DIALECT)
        return dialect

    def _target(self, route: Route) -> Target:
        return self._maker.sender.target(route, self._job.__data__["account"])

    # --- files

    def _gather(self, answer: MediaAnswer, call: MediaCall, target: Target) -> _Result:
        """Store the files of a result, at most as many as requested. Files that cannot be fetched are skipped."""
        outputs: list[Output] = []
        first_failure: ProviderFailed | None = None
        for piece in answer.files[: call.units.units]:
            try:
                outputs.append(self._piece(piece, target))
            except ProviderFailed as failure:
                first_failure = first_failure or failure
        if answer.files and not outputs:
            raise first_failure or ProviderFailed(Failure("nothing_delivered", "no_pieces"))
        return _Result(outputs, answer, target.route)

    def _piece(self, piece: MediaFile, target: Target) -> Output:
        sender = self._maker.sender
        if isinstance(piece, FileUrl):
            with sender.fetch(piece.url, target) as reply:
                return self._store(reply)
        if isinstance(piece, AuthenticatedDownload):
            with sender.open(piece.build_request, target, _no_error_details) as reply:
                return self._store(reply)
        return self._store([piece])

    def _store(self, pieces: Iterable[bytes]) -> Output:
        """Store one file, if its type matches the job. Raises `ProviderFailed`, `StorageUnavailable`."""
        key, source = new_key(), iter(pieces)
        try:
            head, rest = _head(source)
            kind = self._type_of(head)
            self._written.add(key)
            size = self._maker.storage.put(key, _bounded(rest, self._maker.settings.media_max_bytes))
        except _NotMedia:
            raise ProviderFailed(Failure("nothing_delivered", "not_media")) from None
        return Output(key, kind, size)

    def _type_of(self, head: bytes) -> str:
        found = detect_media_type(head)
        if found is None and self._job.options.get("format") == "pcm" and head and not _is_text(head):
            return PCM  # raw audio has no signature
        if found is None or not found.startswith(MEDIA_TYPE_PREFIXES[self._job.kind]):
            raise _NotMedia
        return found

    def _add_thumbnail(self, output: Output) -> None:
        """Store a thumbnail of a large image beside it. The job succeeds without one, too."""
        storage, key = self._maker.storage, thumbnail_key(output.storage_key)
        if not output.media_type.startswith("image/") or not MIN_IMAGE_BYTES <= output.size_bytes <= MAX_IMAGE_BYTES:
            return
        try:
            thumbnail = create_thumbnail(b"".join(storage.get(output.storage_key)))
            if thumbnail is not None:
                self._written.add(key)
                storage.put(key, thumbnail)
        except (NotFound, StorageUnavailable):
            log.warning("a thumbnail could not be stored")

    # --- outcome

    def _take(self, brought: _Result, call: MediaCall, price: PriceList) -> None:
        job, answer = self._job, brought.answer
        job.channel = brought.route.channel
        if brought.outputs:
            for output in brought.outputs:
                self._add_thumbnail(output)
            delivered, credits_per_usd = call.units._replace(units=len(brought.outputs)), self._maker.settings.credits_per_usd
            self.end(
                JobResult(
                    "succeeded",
                    outputs=brought.outputs,
                    cost=media_charge(price, delivered),
                    files_expire_at=now_ms() + self._keep_ms(),
                    provider_cost=media_cost(answer.cost_nano_usd, brought.route.cost, delivered, credits_per_usd),
                )
            )
        elif answer.failure is not None:
            self.end(JobResult("failed", answer.failure, "provider_gave_up"))
        elif answer.provider_job_id is None:
            self.end(JobResult("failed", "nothing_delivered", "empty_answer"))
        else:
            self._wait_for_provider(answer, brought.route.channel)

    def _wait_for_provider(self, answer: MediaAnswer, channel: UUID) -> None:
        job, now = self._job, now_ms()
        assert answer.provider_job_id is not None  # noqa: S101  (checked by the caller)
        if job.vendor_job is None:
            media.store_provider_job(job, channel, answer.provider_job_id)
        if answer.progress is not None and answer.progress != job.progress:
            media.store_progress(job, answer.progress)
        age = now - (job.started_at or now)
        due_at = min(now + max(MIN_POLL_MS, min(age // 10, MAX_POLL_MS)), job.deadline_at)
        media.release_until(job, due_at, without_attempt=True)

    def _fail(self, failure: Failure) -> None:
        """End the job as failed, unless a retry may help: the provider is busy, or only a poll of its job failed."""
        job, now = self._job, now_ms()
        polls = job.vendor_job is not None and failure.reason not in ("status_404", "channel_gone", "not_media")
        if polls and failure.retry is not Retry.NEVER:
            media.release_until(job, min(now + pause_ms(MAX_POLL_MS, failure), job.deadline_at), without_attempt=True)
        elif failure.busy and job.attempts <= MAX_BUSY_PAUSES:
            wait = pause_ms(BUSY_PAUSE_MS * 2 ** (job.attempts - 1), failure)
            media.release_until(job, min(now + wait, job.deadline_at), without_attempt=False)
        else:
            self.end(JobResult("failed", failure.code, failure.reason))

    def _keep_ms(self) -> int:
        """Return how long the account's plan keeps media, in milliseconds."""
        plan = (
            Plan.select(Plan.media_days)
            .join(Subscription)
            .where((Subscription.account == self._job.__data__["account"]) & (Subscription.status == "active"))
            .first()
        )
        days = plan.media_days if plan is not None and plan.media_days else self._maker.settings.media_days
        return int(days) * DAY_MS


def pause_ms(shortest: int, failure: Failure) -> int:
    """Return a job's pause: `shortest`, or a longer pause if the provider asks for it, up to the longest cooldown of a
    breaker."""
    return max(shortest, min(failure.retry_after_ms or 0, MAX_COOLDOWN_MS))


def _save_shape(shape: RequestShape) -> None:
    with transaction():
        save_shape(shape)


def _units(job: MediaJob) -> MediaUnits:
    options = job.options
    return MediaUnits(options.get("n", 1), options.get("seconds", 0), options.get("characters", 0))


def _no_error_details(_status: int, _data: bytes) -> ProviderError:
    """Read no error details, because a failed download is not caused by the caller's request."""
    return ProviderError(False, None, None, None)


def _read(dialect: MediaDialect, data: bytes, target: Target) -> MediaAnswer:
    try:
        return dialect.parse_response(data, target)
    except MalformedAnswer:
        raise ProviderFailed(MALFORMED._replace(reason="malformed_answer")) from None


def _reject_text(content_type: str) -> None:
    """Reject an error page that came with status 200. Raw audio has no signature to detect it by."""
    if content_type.partition("/")[0].strip().lower() == "text" or "json" in content_type or "html" in content_type:
        raise ProviderFailed(MALFORMED._replace(reason="text_for_media"))


def _is_text(head: bytes) -> bool:
    """Return whether the bytes are printable ASCII, which is very unlikely for audio samples."""
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def _head(source: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of `source`, and an iterator over all of it."""
    head = b""
    read = []
    for piece in source:
        read.append(piece)
        head += piece[: HEAD_BYTES - len(head)]
        if len(head) >= HEAD_BYTES:
            break
    return head, chain(read, source)


def _bounded(pieces: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise ProviderFailed(OUTPUT_TOO_LARGE)
        yield piece
