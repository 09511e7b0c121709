"""Purge certificates: their signature can be verified by anyone, and any change invalidates it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.core import signing
from shared.core.errors import InvalidInput
from shared.files import certificates
from tests.yout.command import Installation

SECRET = "0123456789abcdef" * 2
CERTIFICATE = {
    "kind": "yout-purge",
    "purge": "018f",
    "account": "0190",
    "finished_at": "2027-01-31T09:30:00.000Z",
    "removed": {"messages": 3, "shares": 0},
    "remains": {"balance": 12},
}


def signed() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(certificates.sign_certificate(CERTIFICATE, SECRET)))
    return document


def test_a_certificate_is_verified() -> None:
    assert certificates.verify_certificate(signed(), certificates.public_key(SECRET)) == CERTIFICATE
    assert certificates.verify_certificate(signed(), signing.parse_public_key(certificates.public_pem(SECRET))) == CERTIFICATE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"certificate": {**CERTIFICATE, "removed": {"messages": 4, "shares": 0}}}, "signature is invalid"),
        ({"certificate": {**CERTIFICATE, "more": 1}}, "signature is invalid"),
        ({"signature": base64.b64encode(bytes(64)).decode()}, "signature is invalid"),
        ({"signature": "none"}, "signature is invalid"),
        ({"signature": None}, "signature is invalid"),
        ({"key_id": "0" * 16}, "another installation"),
        ({"certificate": None}, "Not a purge certificate"),
    ],
)
def test_a_modified_certificate_is_rejected(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        certificates.verify_certificate({**signed(), **change}, certificates.public_key(SECRET))


def test_another_key_does_not_verify() -> None:
    with pytest.raises(InvalidInput, match="another installation"):
        certificates.verify_certificate(signed(), certificates.public_key(SECRET[::-1]))
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(InvalidInput, match="Not an Ed25519"):
            signing.parse_public_key(pem)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_a_certificate(tmp_path: Path) -> None:
    document = signed()
    statement = json.dumps(document["certificate"], sort_keys=True, separators=(",", ":"))
    (tmp_path / "statement").write_text(statement)
    (tmp_path / "signature").write_bytes(base64.b64decode(document["signature"]))
    (tmp_path / "key.pem").write_bytes(certificates.public_pem(SECRET))
    command = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in statement -sigfile signature"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Verified Successfully" in done.stdout) == (0, True), done.stderr


def test_the_documented_command_verifies_a_certificate(tmp_path: Path) -> None:
    installation = Installation(tmp_path, SECRET_KEY=SECRET)
    (tmp_path / "signed.json").write_text(json.dumps(signed()))
    (tmp_path / "answer.json").write_text(json.dumps({"id": "018f", "status": "done", "certificate": signed()}))
    (tmp_path / "changed.json").write_text(json.dumps({**signed(), "certificate": {**CERTIFICATE, "purge": "0"}}))
    (tmp_path / "key.pem").write_bytes(certificates.public_pem(SECRET))
    for file in ("signed.json", "answer.json"):
        done = installation.yout("purge", "verify", file, "--json")
        assert (done.code, done.data) == (0, {"id": "018f", "valid": True, "certificate": CERTIFICATE}), done.err
    result = installation.yout("purge", "verify", "signed.json").out
    assert result == "Valid. Purge 018f of account 0190, finished 2027-01-31T09:30:00.000Z; removed: 3 messages.\n"
    refused = installation.yout("purge", "verify", "changed.json")
    assert (refused.code, "signature is invalid" in refused.err) == (2, True)
    elsewhere = Installation(tmp_path, SECRET_KEY=SECRET[::-1])
    assert elsewhere.yout("purge", "verify", "signed.json").code == 2
    assert elsewhere.yout("purge", "verify", "signed.json", "--key", "key.pem").code == 0
    assert installation.yout("purge", "verify", "none.json").code == 1
