"""Money, written once: the only writer of balances, holds and ledger entries.

    reserve(asks)    check keys and pools, take holds            (before the calls)
    settle(items)    turn holds into charges, release the rest    (after the calls, exactly once)
    sweep(now)       expire holds that nobody will settle         (any time, by compare-and-set)
    post(…)          grant, purchase, refund, adjustment, expiry
    renew_subscriptions(now)  the periods that are due, their grants and expiries
    renew_pool(…)    the credits of a new day for visitors
    collapse.py      purge an account: its entries become one, its calls are forgotten

`reserve` and `settle` work on batches, so that an edge commits many calls at once. All of it is plain synchronous Peewee inside
the caller's `shared.database.transaction()`, the same statements on SQLite and PostgreSQL. Rows are locked in one order, accounts
by id and then holds, so that concurrent batches never deadlock.

What always holds, and `audit.verify` proves: `balance = sum(ledger)`, `held = sum(open holds)`, `0 ≤ held ≤ balance`; and beside
the balance: `plan_credits = sum(their movements)`, and each allowance and overage holds what open holds took of it.
"""

from shared.ledger.allowances import month_spending
from shared.ledger.claims import Claim
from shared.ledger.payers import OwnLimits
from shared.ledger.posting import post
from shared.ledger.renewals import renew_subscriptions
from shared.ledger.reserve import Reservation, Reserved, reserve
from shared.ledger.rows import batch_transaction, lock_in_order
from shared.ledger.settle import Rare, Settled, Settlement, release, settle
from shared.ledger.sweep import sweep
from shared.ledger.visitors import NO_VISITORS, VisitorTerms, renew_pool
from shared.ledger.visitors import standing as visitor_standing

__all__ = [
    "NO_VISITORS",
    "Claim",
    "OwnLimits",
    "Rare",
    "Reservation",
    "Reserved",
    "Settled",
    "Settlement",
    "VisitorTerms",
    "batch_transaction",
    "lock_in_order",
    "month_spending",
    "post",
    "release",
    "renew_pool",
    "renew_subscriptions",
    "reserve",
    "settle",
    "sweep",
    "visitor_standing",
]
