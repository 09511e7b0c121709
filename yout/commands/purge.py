"""`yout purge`: verify purge certificates."""

from __future__ import annotations

from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.json_file import read_json
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "purge", "verify purge certificates")
    verify = add_command(verbs, "verify", "check a certificate's signature", _verify, database=False)
    verify.add_argument("file", type=Path, help="the certificate, or the API response that contains it")
    verify.add_argument("--key", type=Path, help="a public key in PEM format (default: this installation's)")


def _verify(call: CommandContext) -> Result:
    from shared.core import signing
    from shared.files import certificates

    document = read_json(call.arguments.file)
    if isinstance(document, dict) and isinstance(document.get("certificate"), dict) and "signature" not in document:
        document = document["certificate"]  # the response of GET /api/chat/purge/<id>/
    pem = call.arguments.key
    key = signing.parse_public_key(pem.read_bytes()) if pem else certificates.public_key(call.settings.secret_key)
    certificate = certificates.verify_certificate(document, key)
    removed = ", ".join(f"{count} {store.replace('_', ' ')}" for store, count in certificate.get("removed", {}).items() if count)
    owner = f"account {certificate['account']}" if "account" in certificate else "a visitor"
    purge = f"Purge {certificate.get('purge')} of {owner}, finished {certificate.get('finished_at')}"
    text = f"Valid. {purge}; removed: {removed or 'nothing'}."
    return Result({"id": str(certificate.get("purge")), "valid": True, "certificate": certificate}, text)
