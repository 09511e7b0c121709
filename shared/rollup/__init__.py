"""Sums of the usage, kept by a worker: what the console shows of ten million calls comes from a few thousand rows.

    roll(now, seconds)   sum up the hours that have ended, and those that late calls changed   (any time, by one at a time)
    forget(account)      take an account's own sums out, as a part of its purge
    figures(…)           calls, tokens, credits and latencies of a span: whole days, whole hours, and the rest from the calls

Every hour is summed from its calls in one transaction and replaced as a whole, so that doing it twice changes nothing. The sums
of the platform get the difference between the accounts' new sums and their old ones: a purged account leaves them as they are.
"""

from shared.rollup.read import Figures, Ranked, Scope, Span, figures, rolled_until, top_accounts
from shared.rollup.tally import Tally
from shared.rollup.write import KEEP_HOURS, Rolled, forget, roll

__all__ = [
    "KEEP_HOURS",
    "Figures",
    "Ranked",
    "Rolled",
    "Scope",
    "Span",
    "Tally",
    "figures",
    "forget",
    "roll",
    "rolled_until",
    "top_accounts",
]
