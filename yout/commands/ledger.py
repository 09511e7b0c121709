"""`yout ledger`: prove that the money adds up, and clean up after the dead."""

from __future__ import annotations

from yout.arguments import Commands, Invocation, Parser, add_command, add_noun
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_noun(commands, "ledger", "prove that the money adds up")
    add_command(verbs, "verify", "check every balance against its ledger, and look for stale holds", _verify)
    add_command(verbs, "renew", "begin the periods of plans that are due, as a worker does", _renew)
    add_command(verbs, "sweep", "give back the credits held by calls that are gone", _sweep)


def _verify(_call: Invocation) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger.verify import verify

    report = verify(now_ms())
    clean = not report.problems
    data = {"id": "ledger", "clean": clean, **report._asdict(), "problems": list(report.problems)}
    seen = f"{report.accounts} accounts, {report.entries} ledger entries, {report.open_holds} open holds"
    text = "\n".join([*report.problems, f"{seen}: {'everything adds up' if clean else 'NOT clean'}."])
    return Result(data, text, exit_code=0 if clean else 1)


def _sweep(_call: Invocation) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import sweep

    expired = sweep(now_ms())
    return Result({"id": "ledger", "expired": expired}, f"{expired} abandoned holds were given back.")


def _renew(_call: Invocation) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import renew_subscriptions

    renewed = renew_subscriptions(now_ms())
    return Result({"id": "ledger", "renewed": renewed}, f"{renewed} periods of plans began or ended.")
