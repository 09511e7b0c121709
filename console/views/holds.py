"""Holds: credits that running calls have reserved, the nearest to its deadline first."""

from __future__ import annotations

from uuid import UUID

from flask.typing import ResponseReturnValue

from console import dashboard
from console.views.view import View, shows
from shared.clock import now_ms
from shared.ledger.sweep import SILENT_MS
from shared.models import Account, EdgeProcess, Hold

SHOWN = 200


class HoldsView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        now = now_ms()
        rows = Hold.select(Hold, Account.id, Account.email).join(Account).where(Hold.state == "held")
        alive = {row.id for row in EdgeProcess.select(EdgeProcess.id).where(EdgeProcess.seen_at >= now - SILENT_MS)}
        opened = list(rows.order_by(Hold.expires_at).limit(SHOWN))
        states = {hold.id: _state(hold, alive, now) for hold in opened}
        return self.page("holds.html", rows=opened, states=states, summary=dashboard.holds(now), shown=SHOWN)


def _state(hold: Hold, alive: set[UUID], now: int) -> str:
    """`running`, or why nobody will settle it."""
    if hold.expires_at < now:
        return "past its deadline"
    if hold.edge_process is not None and hold.edge_process not in alive:
        return "its process is silent"
    return "running"
