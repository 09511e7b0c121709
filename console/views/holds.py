"""Holds: credits that running calls have reserved, the stuck ones first, and what staff may do about one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue

from console import dashboard, id_labels
from console.actions import holds_and_jobs
from console.forms.holds_and_jobs import ReasonForm, SettleForm
from console.views.filters import asked, chips
from console.views.form_handling import submit
from console.views.view import View, changes, shows
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.ledger.sweep import SILENT_MS
from shared.models import Account, EdgeProcess, Hold, MediaJob, UsageLedger
from shared.operations.accounts import find_account
from shared.operations.holds import find_hold

SHOWN = 200
STUCK, RUNNING = "stuck", "running"


class HoldsView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        now, filters = now_ms(), asked(("account", "state"))
        rows = _open_holds(filters, now)
        alive = _alive(now)
        return self.page(
            "holds/list.html",
            rows=rows,
            states={hold.id: _state(hold, alive, now) for hold in rows},
            summary=dashboard.holds(now),
            filters=filters,
            chips=chips("holds.index", filters),
            shown=SHOWN,
        )

    @shows("/<uuid:call_id>")
    def detail(self, call_id: UUID) -> ResponseReturnValue:
        return self._page(call_id, ReasonForm(), SettleForm())

    @changes("/<uuid:call_id>/release", "hold.release")
    def release(self, call_id: UUID) -> ResponseReturnValue:
        find_hold(call_id)
        form, target = ReasonForm(), url_for("usage.receipt", call_id=call_id)
        done = submit(form, lambda: holds_and_jobs.release_hold(call_id, form.reason.data), target)
        return done or (self._page(call_id, form, SettleForm(formdata=None)), 422)

    @changes("/<uuid:call_id>/settle", "hold.settle")
    def settle(self, call_id: UUID) -> ResponseReturnValue:
        find_hold(call_id)
        form, target = SettleForm(), url_for("usage.receipt", call_id=call_id)
        done = submit(form, lambda: holds_and_jobs.settle_hold(call_id, form.credits.number(), form.reason.data), target)
        return done or (self._page(call_id, ReasonForm(formdata=None), form), 422)

    def _page(self, call_id: UUID, release: ReasonForm, settle: SettleForm) -> str:
        hold, now = find_hold(call_id), now_ms()
        return self.page(
            "holds/detail.html",
            hold=hold,
            state=_state(hold, _alive(now), now),
            key=id_labels.keys([hold.__data__["api_key"]]).get(hold.__data__["api_key"]),
            process=EdgeProcess.get_or_none(EdgeProcess.id == hold.edge_process) if hold.edge_process else None,
            job=MediaJob.select(MediaJob.id).where(MediaJob.id == call_id).first(),
            called=UsageLedger.select(UsageLedger.id).where(UsageLedger.id == call_id).exists(),
            release=release,
            settle=settle,
        )


def _open_holds(filters: dict[str, str], now: int) -> list[Any]:
    """The stuck ones first, then the running ones, each the oldest first."""
    query = (
        Hold.select(Hold, Account.id, Account.email).join(Account).where(Hold.state == "held").order_by(Hold.created_at, Hold.id)
    )
    if "account" in filters:
        query = query.where(Hold.account == find_account(filters["account"]).id)
    living = EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - SILENT_MS)
    lost = Hold.edge_process.is_null(False) & Hold.edge_process.not_in(living)
    stuck = (Hold.expires_at < now) | lost
    wanted = filters.get("state")
    if wanted not in (None, STUCK, RUNNING):
        raise InvalidInput(f"There is no state {wanted!r}; there are {STUCK} and {RUNNING}.")
    found: list[Any] = [] if wanted == RUNNING else list(query.where(stuck).limit(SHOWN))
    if wanted != STUCK and len(found) < SHOWN:
        alive = Hold.edge_process.is_null() | Hold.edge_process.in_(living)
        found += list(query.where((Hold.expires_at >= now) & alive).limit(SHOWN - len(found)))
    return found


def _alive(now: int) -> set[UUID]:
    return {row.id for row in EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - SILENT_MS)}


def _state(hold: Hold, alive: set[UUID], now: int) -> str:
    """`running`, why nobody will settle it, or what became of it."""
    if hold.state != "held":
        return str(hold.state)
    if hold.expires_at < now:
        return "past its deadline"
    if hold.edge_process is not None and hold.edge_process not in alive:
        return "its process is silent"
    return "running"
