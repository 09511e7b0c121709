"""`yout receipt`: check a receipt offline."""

from __future__ import annotations

from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.json_file import read_json
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "receipt", "check receipts of calls")
    verify = add_command(
        verbs, "verify", "check a receipt's steps, entry and seal, without the database", _verify, database=False
    )
    verify.add_argument(
        "file", type=Path, help="the answer of GET /api/receipts/<request id>/, or a file from the page of the call"
    )
    verify.add_argument("--heads", type=Path, metavar="FILE", help="published heads that must contain the receipt's seal")


def _verify(call: CommandContext) -> Result:
    from shared.core.errors import InvalidInput
    from shared.ledger.receipt_proof import check_receipt, is_sealed

    receipt = read_json(call.arguments.file)
    heads = read_json(call.arguments.heads) if call.arguments.heads else None
    if heads is not None and not (isinstance(heads, dict) and {"heads", "keys"} <= heads.keys()):
        raise InvalidInput("The heads must be those of GET /.well-known/yout-ledger-heads.json.")
    problems = check_receipt(receipt, None if heads is None else heads["keys"])
    sealed = is_sealed(receipt)
    seal = receipt["proof"]["seal"]
    if heads is not None and sealed and seal["head"] not in [document["head"] for document in heads["heads"]]:
        problems.append("its seal is not among the published ones")
    data = {"id": receipt["request_id"], "valid": not problems, "sealed": sealed, "problems": problems}
    if problems:
        return Result(data, "\n".join([*problems, "The receipt is NOT VALID."]), exit_code=1)
    when = f"sealed as number {seal['head']['number']} at {seal['head']['sealed_at']}" if sealed else "not sealed yet"
    return Result(data, f"Valid: {receipt['credits_charged']} credits for {receipt['request_id']}, {when}.")
