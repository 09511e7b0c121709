"""One job in hand: ask a vendor, store what it delivers, and end the job or let go of it until it is due again."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from shared import media
from shared.billing.pricing import MediaUnits, PriceList, media_charge
from shared.catalog import reader
from shared.catalog.snapshot import EMPTY, Catalog, CatalogModel, Route
from shared.core.clock import now_ms
from shared.core.database_errors import may_pass
from shared.core.errors import StorageUnavailable
from shared.core.settings import Settings
from shared.dialects.base import Target, VendorError, VendorRequest
from shared.dialects.media import Download, Link, MalformedAnswer, MediaAnswer, MediaCall, MediaDialect, Piece
from shared.dialects.openai_media import MEDIA_DIALECTS
from shared.files.storage import Storage, new_key
from shared.media import End, Output
from shared.models import MediaJob, Plan, Subscription
from shared.text.media_types import HEAD_BYTES, media_type
from workers.provider_client import Sender, VendorFailed

log = logging.getLogger("yout.worker.media")

MOST_ATTEMPTS = 5  # hands that a job may be in; each one more had to be given up by a worker that died, or by a busy vendor
MOST_BUSY_PAUSES = 3
BUSY_PAUSE_MS = 5_000
SHORTEST_POLL_MS = 1_000
LONGEST_POLL_MS = 15_000
DAY_MS = 86_400_000
FAMILIES = {"image": "image/", "video": "video/", "speech": "audio/"}
PCM = "audio/pcm"


class _NotMedia(Exception):
    """What came is no file of the kind that was asked for."""


class _Brought(NamedTuple):
    """What a channel brought: stored files, or a job of its own that goes on."""

    outputs: list[Output]
    answer: MediaAnswer
    channel: UUID


class Maker:
    """What one worker process makes media with; safe to share between its threads."""

    def __init__(self, settings: Settings, storage: Storage, sender: Sender) -> None:
        self.settings = settings
        self.storage = storage
        self.sender = sender
        self._catalog: Catalog = EMPTY

    def model(self, id: str) -> CatalogModel | None:
        """The model as the catalogue has it now."""
        if reader.read_version() != self._catalog.version:
            self._catalog = reader.load()
        return self._catalog.models.get(id)

    def work(self, job: MediaJob, hand: UUID) -> None:
        """Do what can be done for `job`, which is in this `hand`. Raises only what a lost database raises."""
        attempt = _Attempt(self, job, hand)
        try:
            attempt.run()
        except StorageUnavailable:
            attempt.end(End("failed", "storage_unavailable", "storage"))
        except Exception as error:  # whatever it is, the job must not be lost with it; its words might quote a prompt
            if may_pass(error):
                attempt.keep_files()
                raise
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("media job %s failed by a mistake: %s\n%s", job.id, type(error).__name__, where)
            attempt.end(End("failed", "internal_error", type(error).__name__[:64]))
        finally:
            attempt.tidy()


class _Attempt:
    def __init__(self, maker: Maker, job: MediaJob, hand: UUID) -> None:
        self._maker, self._job, self._hand = maker, job, hand
        self._written: set[str] = set()  # keys of files that no row speaks of yet

    def run(self) -> None:
        job, now = self._job, now_ms()
        model = self._maker.model(job.model)
        price = next((price for price in model.prices if price.id == job.price), None) if model is not None else None
        if now >= job.deadline_at:
            self.end(End("failed", "job_timeout", "deadline"))
        elif job.attempts > MOST_ATTEMPTS:
            self.end(End("failed", "worker_lost", "attempts"))
        elif model is None or price is None or job.sealed_params is None:
            self.end(End("failed", "model_not_found", "catalogue"))
        else:
            body = media.unseal_body(job.sealed_params, self._maker.settings.secret_key)
            call = MediaCall(job.kind, job.model, body, _units(job), job.options)
            try:
                brought = self._ask(call, model)
            except VendorFailed as failure:
                self._fail(failure)
            else:
                self._take(brought, call, price)

    def end(self, end: End) -> None:
        """End the job, if it is still in this hand. Files of another end are no longer this attempt's to delete."""
        if media.finish(self._job, end, hand=self._hand) is not None:
            self._written -= {output.storage_key for output in end.outputs}
            log.info("media job %s: %s %s", self._job.id, end.status, end.error_code or "")

    def keep_files(self) -> None:
        """The end may have been written though its commit got no answer: then these files are the job's."""
        self._written.clear()

    def tidy(self) -> None:
        """Delete what was stored and is nobody's. What can't be deleted now, the sweep of the storage finds."""
        for key in self._written:
            try:
                self._maker.storage.delete(key)
            except StorageUnavailable:
                log.warning("a stored file that is not needed could not be deleted")

    # --- asking

    def _ask(self, call: MediaCall, model: CatalogModel) -> _Brought:
        """Begin the job at one of the model's channels, or ask after the vendor's own that was begun before."""
        sender = self._maker.sender
        if self._job.vendor_job is None:
            return sender.with_failover(model.routes, self._job.__data__["account"], partial(self._begin, call))
        route = next((route for route in model.routes if route.channel == self._job.channel), None)
        if route is None:
            raise VendorFailed("no_upstream_available", "channel_gone")
        return self._poll(call, route, self._job.vendor_job)

    def _begin(self, call: MediaCall, route: Route) -> _Brought:
        self._job.channel = route.channel
        dialect, target = self._dialect(call, route), self._target(route)
        return self._exchange(dialect, dialect.begin(call, target), call, target)

    def _poll(self, call: MediaCall, route: Route, vendor_job: str) -> _Brought:
        dialect, target = self._dialect(call, route), self._target(route)
        return self._exchange(dialect, dialect.poll(vendor_job, target), call, target)

    def _exchange(self, dialect: MediaDialect, request: VendorRequest, call: MediaCall, target: Target) -> _Brought:
        def read_error(status: int, data: bytes) -> VendorError:
            return dialect.read_error(status, data, call, target)

        with self._maker.sender.open(request, target, read_error) as reply:
            if dialect.raw:
                _refuse_text(reply.headers.get("content-type", ""))
                return _Brought([self._store(reply)], MediaAnswer(), target.route.channel)
            answer = _read(dialect, reply.read(), target)
        return self._gather(answer, call, target)

    def _dialect(self, call: MediaCall, route: Route) -> MediaDialect:
        dialect = MEDIA_DIALECTS.get((route.dialect, call.kind))
        if dialect is None:
            raise VendorFailed("no_upstream_available", "no_dialect", same_route=False)
        return dialect

    def _target(self, route: Route) -> Target:
        return self._maker.sender.target(route, self._job.__data__["account"])

    # --- files

    def _gather(self, answer: MediaAnswer, call: MediaCall, target: Target) -> _Brought:
        """Store the files of an answer, as many as were asked for. One that can't be had is as one that never came."""
        outputs: list[Output] = []
        fault: VendorFailed | None = None
        for piece in answer.pieces[: call.units.units]:
            try:
                outputs.append(self._piece(piece, target))
            except VendorFailed as failure:
                fault = fault or failure
        if answer.pieces and not outputs:
            raise fault or VendorFailed("nothing_delivered", "no_pieces")
        return _Brought(outputs, answer, target.route.channel)

    def _piece(self, piece: Piece, target: Target) -> Output:
        sender = self._maker.sender
        if isinstance(piece, Link):
            with sender.fetch(piece.url, target) as reply:
                return self._store(reply)
        if isinstance(piece, Download):
            with sender.open(piece.request, target, _tells_nothing) as reply:
                return self._store(reply)
        return self._store([piece])

    def _store(self, pieces: Iterable[bytes]) -> Output:
        """Store one file, if it is what the job is for. Raises `VendorFailed`, `StorageUnavailable`."""
        key, source = new_key(), iter(pieces)
        try:
            head, rest = _head(source)
            kind = self._type_of(head)
            self._written.add(key)
            size = self._maker.storage.put(key, _bounded(rest, self._maker.settings.media_max_bytes))
        except _NotMedia:
            raise VendorFailed("nothing_delivered", "not_media") from None
        return Output(key, kind, size)

    def _type_of(self, head: bytes) -> str:
        found = media_type(head)
        if found is None and self._job.options.get("format") == "pcm" and head and not _is_text(head):
            return PCM  # bare samples have no mark to know them by
        if found is None or not found.startswith(FAMILIES[self._job.kind]):
            raise _NotMedia
        return found

    # --- deciding

    def _take(self, brought: _Brought, call: MediaCall, price: PriceList) -> None:
        job, answer = self._job, brought.answer
        job.channel = brought.channel
        if brought.outputs:
            cost = media_charge(price, call.units._replace(units=len(brought.outputs)))
            end = End("succeeded", outputs=brought.outputs, cost=cost, keep_until=now_ms() + self._keep_ms())
            self.end(end)
        elif answer.failure is not None:
            self.end(End("failed", answer.failure, "vendor_gave_up"))
        elif answer.vendor_job is None:
            self.end(End("failed", "nothing_delivered", "empty_answer"))
        else:
            self._wait_for_vendor(answer, brought.channel)

    def _wait_for_vendor(self, answer: MediaAnswer, channel: UUID) -> None:
        job, now = self._job, now_ms()
        assert answer.vendor_job is not None  # noqa: S101  (asked by the caller)
        if job.vendor_job is None:
            media.note_vendor(job, channel, answer.vendor_job)
        if answer.progress is not None and answer.progress != job.progress:
            media.note_progress(job, answer.progress)
        age = now - (job.started_at or now)
        due_at = min(now + max(SHORTEST_POLL_MS, min(age // 10, LONGEST_POLL_MS)), job.deadline_at)
        media.pause(job, due_at, orderly=True)

    def _fail(self, failure: VendorFailed) -> None:
        """End the job, unless waiting may help: the vendor is busy, or it works and only didn't answer when asked."""
        job, now = self._job, now_ms()
        if not failure.final and job.vendor_job is not None and failure.kind not in ("status_404", "channel_gone", "not_media"):
            media.pause(job, min(now + LONGEST_POLL_MS, job.deadline_at), orderly=True)
        elif failure.busy and job.attempts <= MOST_BUSY_PAUSES:
            wait = failure.retry_after_ms if failure.retry_after_ms is not None else BUSY_PAUSE_MS * 2 ** (job.attempts - 1)
            media.pause(job, min(now + wait, job.deadline_at), orderly=False)
        else:
            self.end(End("failed", failure.code, failure.kind))

    def _keep_ms(self) -> int:
        """How long the account's plan keeps media."""
        plan = (
            Plan.select(Plan.media_days)
            .join(Subscription)
            .where((Subscription.account == self._job.__data__["account"]) & (Subscription.status == "active"))
            .first()
        )
        days = plan.media_days if plan is not None and plan.media_days else self._maker.settings.media_days
        return int(days) * DAY_MS


def _units(job: MediaJob) -> MediaUnits:
    options = job.options
    return MediaUnits(options.get("n", 1), options.get("seconds", 0), options.get("characters", 0))


def _tells_nothing(_status: int, _data: bytes) -> VendorError:
    """What a refused download says of the caller's request: nothing."""
    return VendorError(False, None, None, None)


def _read(dialect: MediaDialect, data: bytes, target: Target) -> MediaAnswer:
    try:
        return dialect.read(data, target)
    except MalformedAnswer:
        raise VendorFailed("upstream_error", "malformed_answer") from None


def _refuse_text(content_type: str) -> None:
    """An error page with a good status is no sound, also where sound has no mark to know it by."""
    if content_type.partition("/")[0].strip().lower() == "text" or "json" in content_type or "html" in content_type:
        raise VendorFailed("upstream_error", "text_for_media")


def _is_text(head: bytes) -> bool:
    """Whether samples would have to be very unlikely ones."""
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def _head(source: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of `source`, and all of it."""
    head = b""
    taken = []
    for piece in source:
        taken.append(piece)
        head += piece[: HEAD_BYTES - len(head)]
        if len(head) >= HEAD_BYTES:
            break
    return head, chain(taken, source)


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise VendorFailed("output_too_large", "too_large", same_route=False)
        yield piece
