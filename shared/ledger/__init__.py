"""The ledger: the only writer of balances, holds and ledger entries.

    reserve(reservations)     check keys and pools, take holds             (before the calls)
    extend(items)             let holds grow                               (while calls run, in tight pools)
    settle(items)             turn holds into charges, release the rest    (after the calls, exactly once)
    sweep(now)                expire abandoned holds                       (any time, by compare-and-set)
    post(…)                   grant, purchase, refund, adjustment, expiry
    renew_subscriptions(now)  start due periods: grants and expiries
    renew_pool(…)             refill the visitors' pool for a new day
    retention.py              delete an account's old calls, but not their charges
    compaction.py             purge an account: merge its entries into one and delete its calls

`reserve` and `settle` take batches, so that an edge process can commit many calls at once. All functions are synchronous Peewee
code inside the caller's `shared.core.database.transaction()`, with the same statements on SQLite and PostgreSQL. Locks are taken
in one order, accounts by id and then holds, so concurrent batches never deadlock.

Invariants, checked by `verify.verify_ledger`: `balance = sum(ledger)`, `held = sum(open holds)`, `0 ≤ held ≤ balance`,
`plan_credits = sum(their movements)`, and each allowance and each overage counter holds what the open holds use of it.
"""

from shared.identity.payer import KeyAndPlanLimits
from shared.ledger.allowances import month_meters
from shared.ledger.entries import post_entry
from shared.ledger.extend import Extended, Extension, extend
from shared.ledger.idempotency import Claim
from shared.ledger.renewals import renew_subscriptions
from shared.ledger.reserve import HoldTaken, PoolIsTight, Reservation, reserve
from shared.ledger.settle import FailedCost, Settled, Settlement, UsageDetails, release, settle
from shared.ledger.single_call import SingleCalls
from shared.ledger.sql import batch_transaction, lock_in_order
from shared.ledger.sweep import sweep
from shared.ledger.visitor_pool import VISITORS_DISABLED, VisitorSettings, renew_pool
from shared.ledger.visitor_pool import visitor_allowance_state as visitor_standing

__all__ = [
    "VISITORS_DISABLED",
    "Claim",
    "Extended",
    "Extension",
    "FailedCost",
    "HoldTaken",
    "KeyAndPlanLimits",
    "PoolIsTight",
    "Reservation",
    "Settled",
    "Settlement",
    "SingleCalls",
    "UsageDetails",
    "VisitorSettings",
    "batch_transaction",
    "extend",
    "lock_in_order",
    "month_meters",
    "post_entry",
    "release",
    "renew_pool",
    "renew_subscriptions",
    "reserve",
    "settle",
    "sweep",
    "visitor_standing",
]
