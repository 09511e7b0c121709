"""Usage sums by hour and day, written by a worker, so that the console reads thousands of rows instead of millions of calls.

    roll(now, seconds)   sum hours that have ended, and those that late calls changed
    forget(account)      delete an account's own sums, as part of its purge
    figures(…)           calls, tokens, credits and latencies of a time span: from days, hours, and calls for the rest
    read_breakdown(…)    an account's usage by day, model, key or tag, of all or some of its keys
    month_spending(…)    credits by key in this month
    member_spending(…)   credits by member in this month or day

Every hour is summed from its calls and replaced in one transaction, so repeating it changes nothing. The platform's sums are
updated by the difference between the accounts' new and old sums, so they still include purged accounts.
"""

from shared.rollup.breakdown import Breakdown, UsageSums, last_days, read_breakdown
from shared.rollup.failover_costs import merge_failover_costs
from shared.rollup.read import AccountRank, GroupBy, Scope, TimeSpan, UsageFigures, read_figures, rolled_until, top_accounts
from shared.rollup.spending import member_spending, month_spending
from shared.rollup.sql import MAX_TAGS, OTHER_TAGS
from shared.rollup.tally import Tally
from shared.rollup.token_samples import TokenSums, add_token_sample, read_token_samples
from shared.rollup.write import KEEP_HOURS, RollupResult, delete_account_sums, summed_until, update_sums

__all__ = [
    "KEEP_HOURS",
    "MAX_TAGS",
    "OTHER_TAGS",
    "AccountRank",
    "Breakdown",
    "GroupBy",
    "RollupResult",
    "Scope",
    "Tally",
    "TimeSpan",
    "TokenSums",
    "UsageFigures",
    "UsageSums",
    "add_token_sample",
    "delete_account_sums",
    "last_days",
    "member_spending",
    "merge_failover_costs",
    "month_spending",
    "read_breakdown",
    "read_figures",
    "read_token_samples",
    "rolled_until",
    "summed_until",
    "top_accounts",
    "update_sums",
]
