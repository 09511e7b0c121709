"""Media jobs: their rows and their money, in one place for edge, workers and console.

    submit(…)     the hold and the row, in one transaction
    claim(…)      a worker takes a job in hand; `renew`, `pause` and `note_progress` while it has it
    finish(…)     the end: outputs, charge or release, and the prompt's erasure, in one transaction, exactly once
    cancel(…)     the same end, by the customer

States move by compare-and-set only. Accounts are locked before jobs, as everywhere.
"""

from shared.media.ends import CANCELLED, End, Output, cancel, finish
from shared.media.hands import claim, note_progress, note_vendor, pause, renew, resend
from shared.media.submission import Submitted, Wish, seal_body, submit, unseal_body, withdraw

__all__ = [
    "CANCELLED",
    "End",
    "Output",
    "Submitted",
    "Wish",
    "cancel",
    "claim",
    "finish",
    "note_progress",
    "note_vendor",
    "pause",
    "renew",
    "resend",
    "seal_body",
    "submit",
    "unseal_body",
    "withdraw",
]
