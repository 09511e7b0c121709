"""`yout credits`: grant or deduct credits."""

from __future__ import annotations

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "credits", "grant and deduct credits")
    grant = add_command(verbs, "grant", "grant credits to an account; a negative number deducts them", _grant)
    grant.add_argument("email", metavar="EMAIL", help="email or ID of the account")
    grant.add_argument("credits", metavar="N", type=int)
    grant.add_argument("--reason", required=True, help="reason, shown in the ledger")


def _grant(call: CommandContext) -> Result:
    from shared.operations.accounts import adjust_credits

    arguments = call.arguments
    grant = adjust_credits(arguments.email, arguments.credits, arguments.reason, origin=call.origin)
    account, entry = grant.account, grant.entry
    data = {
        "id": str(account.id),
        "email": account.email,
        "entry": entry.seq,
        "kind": entry.kind,
        "credits": entry.amount,
        "balance": account.balance,
        "reason": entry.reason,
    }
    return Result(
        data, f"{entry.kind.capitalize()} of {entry.amount:+d} credits for {account.email}. Balance: {account.balance} credits."
    )
