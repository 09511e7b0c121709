"""Media jobs: which are open, which failed and why; poll, cancel, fail or refund one. Prompts are never selected."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from console import exports, id_labels
from console.actions import holds_and_jobs
from console.forms.holds_and_jobs import ReasonForm, RefundForm
from console.paging import fetch_page
from console.query_timeout import run_with_timeout
from console.views.filters import active_filters, apply_conditions, chips
from console.views.form_handling import run_action, submit_form
from console.views.time_filters import parse_timestamp
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.core.timestamps import format_timestamp
from shared.models import MEDIA_KINDS, MEDIA_STATES, Account, LedgerEntry, MediaJob, MediaOutput
from shared.operations.accounts import find_account
from shared.operations.media_jobs import find_job
from shared.text.translation import gettext

FILTERS = ("account", "status", "kind", "model", "since", "until")
SHOWN = {
    "job_id": MediaJob.id,
    "created_at": MediaJob.created_at,
    "account_id": MediaJob.account,
    "kind": MediaJob.kind,
    "model": MediaJob.model,
    "status": MediaJob.status,
    "error_code": MediaJob.error_code,
    "error_class": MediaJob.error_class,
    "attempts": MediaJob.attempts,
    "credits_held": MediaJob.credits_held,
    "credits_charged": MediaJob.credits_charged,
    "channel": MediaJob.channel,
    "vendor_job": MediaJob.vendor_job,
    "finished_at": MediaJob.finished_at,
}


class JobsView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        rows = MediaJob.select(*SHOWN.values(), MediaJob.progress, Account.id, Account.email).join(Account)
        query = apply_conditions(rows, _conditions(filters))
        page = run_with_timeout(lambda: fetch_page(query, [MediaJob.id], request.args.get("before")))
        return self.page(
            "jobs/list.html",
            page=page,
            filters=filters,
            chips=chips("jobs.index", filters),
            states=MEDIA_STATES,
            kinds=MEDIA_KINDS,
        )

    @page_route("/jobs.csv")
    def export(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        began = MediaJob.id <= UUID(int=now_ms() << 80 | (1 << 80) - 1)
        query = MediaJob.select(*SHOWN.values()).where(began, *_conditions(filters))

        def line(row: tuple[Any, ...]) -> tuple[Any, ...]:
            id, created, *rest, finished = row
            return (id, format_timestamp(created), *rest, format_timestamp(finished))

        return exports.export("jobs", filters, query, [MediaJob.id], tuple(SHOWN), line)

    @page_route("/<uuid:job_id>")
    def detail(self, job_id: UUID) -> ResponseReturnValue:
        return self._page(job_id)

    @action_route("/<uuid:job_id>/poll", "job.poll")
    def poll(self, job_id: UUID) -> ResponseReturnValue:
        find_job(job_id)
        return run_action(lambda: holds_and_jobs.poll_job(job_id), url_for("jobs.detail", job_id=job_id))

    @action_route("/<uuid:job_id>/cancel", "job.end")
    def cancel(self, job_id: UUID) -> ResponseReturnValue:
        return self._end(job_id, holds_and_jobs.cancel_job, ReasonForm())

    @action_route("/<uuid:job_id>/fail", "job.end")
    def fail(self, job_id: UUID) -> ResponseReturnValue:
        return self._end(job_id, holds_and_jobs.fail_job, ReasonForm())

    @action_route("/<uuid:job_id>/refund", "job.refund")
    def refund(self, job_id: UUID) -> ResponseReturnValue:
        return self._end(job_id, holds_and_jobs.refund_job, RefundForm())

    def _end(self, job_id: UUID, action: Any, form: FlaskForm) -> ResponseReturnValue:
        find_job(job_id)
        done = submit_form(form, lambda: action(job_id, form.reason.data), url_for("jobs.detail", job_id=job_id))
        return done or (self._page(job_id, form), 422)

    def _page(self, job_id: UUID, submitted: FlaskForm | None = None) -> str:
        job = find_job(job_id)
        row = job.__data__
        return self.page(
            "jobs/detail.html",
            job=job,
            account=find_account(row["account"]),
            key=id_labels.key_labels([row["api_key"]]).get(row["api_key"]),
            channel=id_labels.channel_names([job.channel]).get(job.channel) if job.channel else None,
            outputs=list(MediaOutput.select().where(MediaOutput.job == job_id).order_by(MediaOutput.position)),
            refunded=_refunded(job),
            end=submitted if isinstance(submitted, ReasonForm) else ReasonForm(formdata=None),
            refund=submitted if isinstance(submitted, RefundForm) else RefundForm(formdata=None),
        )


def _refunded(job: MediaJob) -> bool:
    refund = (LedgerEntry.account == job.__data__["account"]) & (LedgerEntry.call == job.id) & (LedgerEntry.kind == "refund")
    return bool(LedgerEntry.select().where(refund).exists())


def _conditions(filters: dict[str, str]) -> list[Any]:
    """Return the query conditions. Times are compared with the ids, which start with them, so that one index serves both."""
    for name, known in (("status", MEDIA_STATES), ("kind", MEDIA_KINDS)):
        if filters.get(name, known[0]) not in known:
            raise InvalidInput(
                gettext("Unknown {name} {value!r}. Use one of {known}.", name=name, value=filters[name], known=", ".join(known))
            )
    conditions: list[Any] = [getattr(MediaJob, name) == filters[name] for name in ("status", "kind", "model") if name in filters]
    if "account" in filters:
        conditions.append(MediaJob.account == find_account(filters["account"]).id)
    if "since" in filters:
        conditions.append(MediaJob.id >= UUID(int=parse_timestamp(filters["since"]) << 80))
    if "until" in filters:
        conditions.append(MediaJob.id < UUID(int=parse_timestamp(filters["until"]) << 80))
    return conditions
