"""`yout ledger`: verify balances, renew plans and release abandoned holds."""

from __future__ import annotations

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "ledger", "verify and maintain the ledger")
    add_command(verbs, "verify", "check every balance against its ledger entries, and find stale holds", _verify)
    add_command(verbs, "renew", "start due plan periods, as workers do", _renew)
    add_command(verbs, "sweep", "release credits held by abandoned calls", _sweep)


def _verify(_call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger.verify import verify_ledger

    report = verify_ledger(now_ms())
    clean = not report.problems
    data = {"id": "ledger", "clean": clean, **report._asdict(), "problems": list(report.problems)}
    counts = f"{report.accounts} accounts, {report.entries} ledger entries, {report.open_holds} open holds"
    text = "\n".join([*report.problems, f"{counts}: {'everything adds up' if clean else 'PROBLEMS FOUND'}."])
    return Result(data, text, exit_code=0 if clean else 1)


def _sweep(_call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import sweep

    expired = sweep(now_ms())
    return Result({"id": "ledger", "expired": expired}, f"Released {expired} abandoned holds.")


def _renew(_call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import renew_subscriptions

    renewed = renew_subscriptions(now_ms())
    return Result({"id": "ledger", "renewed": renewed}, f"Started or ended {renewed} plan periods.")
