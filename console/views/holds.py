"""Holds: credits reserved by calls in progress, stuck ones first; release or settle one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue

from console import dashboard, id_labels
from console.actions import holds_and_jobs
from console.forms.holds_and_jobs import ReasonForm, SettleForm
from console.views.filters import active_filters, chips
from console.views.form_handling import submit_form
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS
from shared.models import Account, EdgeProcess, Hold, MediaJob, UsageLedger
from shared.operations.accounts import find_account
from shared.operations.holds import find_hold
from shared.text.translation import gettext

MAX_ROWS = 200
STUCK, RUNNING = "stuck", "running"


class HoldsView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        now, filters = now_ms(), active_filters(("account", "state"))
        rows = _open_holds(filters, now)
        alive = _alive(now)
        return self.page(
            "holds/list.html",
            rows=rows,
            states={hold.id: _state(hold, alive, now) for hold in rows},
            summary=dashboard.holds(now),
            filters=filters,
            chips=chips("holds.index", filters),
            shown=MAX_ROWS,
        )

    @page_route("/<uuid:call_id>")
    def detail(self, call_id: UUID) -> ResponseReturnValue:
        return self._page(call_id, ReasonForm(), SettleForm())

    @action_route("/<uuid:call_id>/release", "hold.release")
    def release(self, call_id: UUID) -> ResponseReturnValue:
        find_hold(call_id)
        form, target = ReasonForm(), url_for("usage.receipt", call_id=call_id)
        done = submit_form(form, lambda: holds_and_jobs.release_hold(call_id, form.reason.data), target)
        return done or (self._page(call_id, form, SettleForm(formdata=None)), 422)

    @action_route("/<uuid:call_id>/settle", "hold.settle")
    def settle(self, call_id: UUID) -> ResponseReturnValue:
        find_hold(call_id)
        form, target = SettleForm(), url_for("usage.receipt", call_id=call_id)
        done = submit_form(
            form, lambda: holds_and_jobs.settle_hold(call_id, form.credits.required_value(), form.reason.data), target
        )
        return done or (self._page(call_id, ReasonForm(formdata=None), form), 422)

    def _page(self, call_id: UUID, release: ReasonForm, settle: SettleForm) -> str:
        hold, now = find_hold(call_id), now_ms()
        return self.page(
            "holds/detail.html",
            hold=hold,
            state=_state(hold, _alive(now), now),
            key=id_labels.key_labels([hold.__data__["api_key"]]).get(hold.__data__["api_key"]),
            process=EdgeProcess.get_or_none(EdgeProcess.id == hold.edge_process) if hold.edge_process else None,
            job=MediaJob.select(MediaJob.id).where(MediaJob.id == call_id).first(),
            called=UsageLedger.select(UsageLedger.id).where(UsageLedger.id == call_id).exists(),
            release=release,
            settle=settle,
        )


def _open_holds(filters: dict[str, str], now: int) -> list[Any]:
    """Return stuck holds, then running ones, each oldest first."""
    query = (
        Hold.select(Hold, Account.id, Account.email).join(Account).where(Hold.state == "held").order_by(Hold.created_at, Hold.id)
    )
    if "account" in filters:
        query = query.where(Hold.account == find_account(filters["account"]).id)
    reporting = EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - HEARTBEAT_TIMEOUT_MS)
    orphaned = Hold.edge_process.is_null(False) & Hold.edge_process.not_in(reporting)
    stuck = (Hold.expires_at < now) | orphaned
    state = filters.get("state")
    if state not in (None, STUCK, RUNNING):
        raise InvalidInput(
            gettext("Unknown state {state!r}. Use {stuck} or {running}.", state=state, stuck=STUCK, running=RUNNING)
        )
    rows: list[Any] = [] if state == RUNNING else list(query.where(stuck).limit(MAX_ROWS))
    if state != STUCK and len(rows) < MAX_ROWS:
        alive = Hold.edge_process.is_null() | Hold.edge_process.in_(reporting)
        rows += list(query.where((Hold.expires_at >= now) & alive).limit(MAX_ROWS - len(rows)))
    return rows


def _alive(now: int) -> set[UUID]:
    return {row.id for row in EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - HEARTBEAT_TIMEOUT_MS)}


def _state(hold: Hold, alive: set[UUID], now: int) -> str:
    """Return `running`, why the hold is stuck, or how it was closed."""
    if hold.state != "held":
        return str(hold.state)
    if hold.expires_at < now:
        return "past deadline"
    if hold.edge_process is not None and hold.edge_process not in alive:
        return "process not responding"
    return "running"
