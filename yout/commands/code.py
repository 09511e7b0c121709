"""`yout code`: redeem codes."""

from __future__ import annotations

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp

_DAY_MS = 24 * 3600 * 1000


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "code", "create, void and redeem codes for credits")
    create = add_command(verbs, "create", "create a batch of codes and print them once", _create)
    create.add_argument("credits", type=int, metavar="CREDITS", help="credits per code")
    create.add_argument("--count", type=int, default=1, metavar="N", help="number of codes (default 1)")
    create.add_argument("--days", type=int, metavar="N", help="days until the codes expire (default never)")
    create.add_argument("--note", default="", help="what the codes are for")
    add_command(verbs, "list", "list all batches and their status", _list)
    void = add_command(verbs, "void", "void an unused code, or all unused codes of a batch", _void)
    void.add_argument("id", metavar="ID", help="ID of the code or the batch")
    redeem = add_command(verbs, "redeem", "redeem a code for an account", _redeem)
    redeem.add_argument("email", metavar="EMAIL", help="email or ID of the account")
    redeem.add_argument("code", metavar="CODE", help="the code, or - to read it from standard input")


def _create(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.redeem_codes import create_codes

    arguments = call.arguments
    expires_at = None if arguments.days is None else now_ms() + arguments.days * _DAY_MS
    batch = create_codes(arguments.credits, arguments.count, note=arguments.note, expires_at=expires_at, origin=call.origin)
    data = {"id": str(batch.row.id), "credits": batch.row.credits, "expires_at": expires_at, "codes": list(batch.codes)}
    text = f"Batch {batch.row.id}: {len(batch.codes)} codes of {batch.row.credits} credits. They will not be shown again."
    return Result(data, "\n".join([*batch.codes, text]))


def _list(_call: CommandContext) -> Result:
    from shared.operations.redeem_codes import list_batches

    batches = list_batches()
    data = [
        {
            "id": str(batch.row.id),
            "note": batch.row.note,
            "credits": batch.row.credits,
            "count": batch.row.count,
            "redeemed": batch.redeemed,
            "voided": batch.voided,
            "open": batch.open,
            "expires_at": batch.row.expires_at,
            "created_at": batch.row.created_at,
        }
        for batch in batches
    ]
    lines = [
        f"{batch.row.id}: {batch.row.count} codes of {batch.row.credits} credits, {batch.redeemed} redeemed, {batch.voided} void,"
        f" {batch.open} unused, created {format_timestamp(batch.row.created_at)}, expires"
        f" {format_timestamp(batch.row.expires_at)}" + (f" ({batch.row.note})" if batch.row.note else "")
        for batch in batches
    ]
    return Result({"id": "codes", "batches": data}, "\n".join(lines) or "No codes. Create some with: yout code create CREDITS")


def _void(call: CommandContext) -> Result:
    from shared.operations.redeem_codes import void_codes

    voided = void_codes(call.arguments.id, origin=call.origin)
    return Result({"id": call.arguments.id, "voided": voided}, f"Voided {voided} codes.")


def _redeem(call: CommandContext) -> Result:
    from shared.operations.accounts import find_account
    from shared.operations.redeem_codes import redeem
    from yout.arguments import read_secret_option

    account = find_account(call.arguments.email)
    collected = redeem(account.id, read_secret_option(call.arguments.code), origin=call.origin)
    data = {"id": str(account.id), "credits": collected.payment.credits, "balance": collected.balance}
    return Result(data, f"{account.email} received {collected.payment.credits} credits. Balance: {collected.balance} credits.")
