"""`yout prove-cap`: prove on the deployed stack that no account spends more than it has, and that every call is charged once."""

from __future__ import annotations

import sys

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command
from yout.result import Result

DEFAULT_CALLS = 400
MAX_CALLS = 100_000


def register(commands: Commands[Parser]) -> None:
    prove = add_command(commands, "prove-cap", "prove that no account can spend more than it has", _prove)
    prove.add_argument("--calls", type=int, default=DEFAULT_CALLS, metavar="N", help=f"calls to make (default {DEFAULT_CALLS})")
    prove.add_argument("--kill", action="store_true", help="kill the command's own edges at random moments")
    prove.add_argument("--edge", metavar="URL", help="use this running edge on the same machine, instead of two of its own")
    prove.add_argument("--seed", type=int, help="repeat the same choice of calls")


def _prove(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.proof_reports import sign_report, store_report
    from yout.proof.prove_cap import Options, prove_cap, terminated_like_interrupted

    arguments = call.arguments
    if not 1 <= arguments.calls <= MAX_CALLS:
        raise UsageError(f"--calls must be between 1 and {MAX_CALLS}.")
    if arguments.kill and arguments.edge:
        raise UsageError("--kill works with the command's own edges only; leave out --edge.")
    started_at = now_ms()
    options = Options(arguments.calls, arguments.kill, arguments.edge, arguments.seed)
    with terminated_like_interrupted():
        found = prove_cap(options, call.settings, call.origin, lambda text: print(text, file=sys.stderr, flush=True))
    report = sign_report("prove-cap", started_at, now_ms(), found.result, call.settings)
    stored = store_report("prove-cap", report, call.settings)
    proof = found.proof
    counts = ", ".join(
        f"{surface} {sum(outcomes.values())} ({', '.join(f'{number} {name}' for name, number in outcomes.items())})"
        for surface, outcomes in found.result["surfaces"].items()
    )
    lines = [
        *proof.problems,
        f"Calls: {counts}.",
        f"{proof.charged} of {found.result['granted']} credits charged, {found.result['samples']} samples of the balance,"
        f" {found.result['kills']} kills.",
        f"Largest overdraft {proof.overdraft}, lost {proof.lost}, doubled {proof.doubled}.",
        f"Signed report: {stored} in the media store, key {report['key_id']}.",
    ]
    return Result(report, "\n".join(lines), exit_code=0 if proof.clean else 1)
