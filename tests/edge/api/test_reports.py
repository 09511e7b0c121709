"""The public key of signed reports."""

from __future__ import annotations

from shared.core import signing
from tests.edge.api.conftest import ApiStack
from tests.servers.edge import SECRET_KEY


def test_anybody_can_retrieve_the_key(api: ApiStack) -> None:
    pem = api.request("GET", "/.well-known/yout-report-key.pem")
    key = signing.public_key(SECRET_KEY, signing.PROOF_REPORT)
    assert (pem.status, pem.body) == (200, signing.public_pem(key))
