"""Signatures: valid for one statement, one purpose and one SECRET_KEY."""

from __future__ import annotations

import base64
import string

import pytest

from shared.core import signing

SECRET = "0123456789abcdef" * 2
STATEMENT = {"b": 1, "a": ["é", {"c": None}]}


def test_a_signature_covers_the_canonical_form() -> None:
    assert signing.canonical_json(STATEMENT) == b'{"a":["\\u00e9",{"c":null}],"b":1}'
    signature = signing.sign(STATEMENT, SECRET, signing.PROOF_REPORT)
    key = signing.public_key(SECRET, signing.PROOF_REPORT)
    assert signing.is_valid({"a": ["é", {"c": None}], "b": 1}, signature, key)
    assert signing.is_valid(STATEMENT, signature, signing.parse_public_key(signing.public_pem(key)))


@pytest.mark.parametrize(
    "signature", [None, "", "no base64", "AAAA", signing.sign({**STATEMENT, "b": 2}, SECRET, "proof-report")]
)
def test_other_signatures_are_invalid(signature: object) -> None:
    assert not signing.is_valid(STATEMENT, signature, signing.public_key(SECRET, signing.PROOF_REPORT))


def test_other_spellings_of_a_signature_are_invalid() -> None:
    """Four bits of the last character are not part of the signature."""
    signature = signing.sign(STATEMENT, SECRET, signing.PROOF_REPORT)
    key = signing.public_key(SECRET, signing.PROOF_REPORT)
    others = {f"{signature[:-3]}{last}==" for last in string.ascii_letters + string.digits + "+/"} - {signature}
    same_bytes = [other for other in others if base64.b64decode(other) == base64.b64decode(signature)]
    assert len(same_bytes) == 15
    assert not any(signing.is_valid(STATEMENT, other, key) for other in same_bytes)


def test_each_purpose_and_secret_has_its_own_key() -> None:
    keys = [
        signing.public_key(secret, purpose)
        for secret in (SECRET, SECRET[::-1])
        for purpose in (signing.PROOF_REPORT, signing.PURGE_CERTIFICATE)
    ]
    assert len({signing.key_id(key) for key in keys}) == 4
    signature = signing.sign(STATEMENT, SECRET, signing.PROOF_REPORT)
    assert [signing.is_valid(STATEMENT, signature, key) for key in keys] == [True, False, False, False]
