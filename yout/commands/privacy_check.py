"""`yout privacy-check`: send unguessable strings through every route of the deployed stack, and search for them."""

from __future__ import annotations

import sys
from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, add_command
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    check = add_command(commands, "privacy-check", "prove that content is not kept and that providers see nothing else", _check)
    check.add_argument("--log", type=Path, action="append", default=[], metavar="FILE", help="search this file, too (repeatable)")


def _check(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.proof_reports import sign_report, store_report
    from yout.proof.privacy_check import check_privacy
    from yout.proof.prove_cap import terminated_like_interrupted

    started_at = now_ms()
    with terminated_like_interrupted():
        found = check_privacy(
            call.settings, call.origin, call.arguments.log, lambda text: print(text, file=sys.stderr, flush=True)
        )
    report = sign_report("privacy-check", started_at, now_ms(), found.result(), call.settings)
    stored = store_report("privacy-check", report, call.settings)
    hits = found.hits
    lines = [
        *(
            f"{place.name}: {place.size} {place.unit} searched{f' ({place.note})' if place.note else ''}"
            for place in found.places
        ),
        *(f"kept as requested: {hit.canary} ({hit.form}) in {hit.place}" for hit in found.kept),
        *(f"FOUND: {hit.canary} ({hit.form}) in {hit.place}" for hit in hits),
        f"{len(found.canaries)} canaries in {found.requests} requests: {f'{len(hits)} hits' if hits else 'nothing was kept'}.",
        f"Signed report: {stored} in the media store, key {report['key_id']}.",
    ]
    return Result(report, "\n".join(lines), exit_code=1 if hits else 0)
