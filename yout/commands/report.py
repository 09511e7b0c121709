"""`yout report`: verify the signed reports of `yout prove-cap` and `yout privacy-check`."""

from __future__ import annotations

from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.json_file import read_json
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "report", "verify signed reports")
    verify = add_command(verbs, "verify", "check the signature of a report", _verify, database=False)
    verify.add_argument("file", type=Path, help="the JSON of `yout prove-cap` or `yout privacy-check`")
    verify.add_argument("--key", type=Path, help="a public key in PEM format (default: this installation's)")


def _verify(call: CommandContext) -> Result:
    from shared.core import signing
    from shared.operations.proof_reports import verify_report

    document = read_json(call.arguments.file)
    pem = call.arguments.key
    own = signing.public_key(call.settings.secret_key, signing.PROOF_REPORT)
    report = verify_report(document, signing.parse_public_key(pem.read_bytes()) if pem else own)
    name, when = str(report["id"]), report.get("finished_at")
    return Result({"id": name, "valid": True, "report": report}, f"Valid. {name} of {report.get('issuer')}, finished {when}.")
