"""Holds closed by staff: released or charged, with a reason. Exactly once, by the hold's state."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared import ledger
from shared.billing.token_usage import TokenUsage
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger import Settlement
from shared.models import Account, Hold
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.validation import check_integer, check_text
from shared.text.translation import lazy_gettext

MAX_DURATION_MS = 2**31 - 1
UNKNOWN_USAGE = TokenUsage(0, 0, estimated=True)


@dataclass(frozen=True, slots=True)
class ClosedHold:
    """A closed hold: its account, the credits held, and the credits charged."""

    account: Account
    held: int
    credits: int


def find_hold(call: UUID) -> Hold:
    """Return the hold of a call, with its account. Raises `NotFound`, also for a settled hold."""
    hold: Hold | None = Hold.select(Hold, Account).join(Account).where(Hold.id == call).first()
    if hold is None:
        raise NotFound(lazy_gettext("No hold {call}. It may be closed already; the call's receipt shows the charge.", call=call))
    return hold


def release_hold(call: UUID, reason: str, *, origin: Origin) -> ClosedHold:
    """Release a hold: the call is free, even if it is still running. Raises `InvalidInput` if the hold is closed."""
    return _close(call, 0, reason, origin)


def settle_hold(call: UUID, credits: int, reason: str, *, origin: Origin) -> ClosedHold:
    """Charge `credits` of a hold and release the rest. Raises `InvalidInput` if that exceeds the hold, or if it is closed."""
    if credits == 0:
        raise InvalidInput(lazy_gettext("The amount must be above 0. To charge nothing, release the hold."))
    return _close(call, credits, reason, origin)


def _close(call: UUID, credits: int, reason: str, origin: Origin) -> ClosedHold:
    reason = check_text("reason", reason, 500)
    with transaction():
        hold, now = find_hold(call), now_ms()
        held = hold.amount + hold.overage
        check_integer("number of credits", credits, 0, held)
        [settled] = ledger.settle([_settlement(hold, credits, now)], now) if hold.state == "held" else [None]
        if settled is None or not settled.is_first:  # closed concurrently
            raise InvalidInput(
                lazy_gettext("This hold is already closed. Nothing was changed. The call's receipt shows the charge.")
            )
        record_audit_entry(
            origin,
            "hold.settle" if credits else "hold.release",
            call,
            before={"state": "held", "held": held},
            after={"account": str(hold.account.id), "charged": settled.credits, "reason": reason},
        )
        return ClosedHold(hold.account, held, settled.credits)


def _settlement(hold: Hold, credits: int, now: int) -> Settlement:
    """Return the settlement of a call whose usage is unknown."""
    row = hold.__data__
    return Settlement(
        call=hold.id,
        account=row["account"],
        cost=credits,
        status="completed" if credits else "cancelled",
        api_key=row["api_key"],
        model=hold.model,
        price=hold.price,
        cap=hold.amount + hold.overage,
        error_code="settled_by_staff" if credits else "released_by_staff",
        usage=UNKNOWN_USAGE,
        duration_ms=min(now - hold.created_at, MAX_DURATION_MS),
        created_at=hold.created_at,
        has_claim=True,
    )
