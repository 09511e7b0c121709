"""`yout account`: the owners of credits."""

from __future__ import annotations

from yout.arguments import Commands, Invocation, Parser, add_command, add_noun
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_noun(commands, "account", "open accounts")
    create = add_command(verbs, "create", "open an account, with credits if you like", _create)
    create.add_argument("email", metavar="EMAIL")
    create.add_argument("--credits", type=int, default=0, metavar="N", help="opening credits (default 0)")
    create.add_argument("--name", default="", help="a name for people")


def _create(call: Invocation) -> Result:
    from shared.operations.accounts import create_account

    arguments = call.arguments
    account = create_account(arguments.email, arguments.credits, name=arguments.name, actor=call.actor)
    data = {
        "id": str(account.id),
        "email": account.email,
        "name": account.name,
        "status": account.status,
        "credits": arguments.credits,
        "balance": account.balance,
    }
    return Result(data, f"Account {account.email} ({account.id}) with {account.balance} credits.")
