"""The public key that verifies the reports of `yout prove-cap` and `yout privacy-check`."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.http.api_spec import ANYBODY, ResponseSpec, describe_route
from edge.request_context import services
from shared.core import signing

reports = Blueprint("reports", __name__)


@reports.get("/.well-known/yout-report-key.pem")
@describe_route(
    "Retrieve the public key for reports",
    callers=ANYBODY,
    responses={200: ResponseSpec(None, "An Ed25519 public key in PEM.", ("application/x-pem-file",))},
)
async def show_key() -> Response:
    """Return the public key that verifies the operator's signed reports."""
    key = signing.public_key(services().settings.secret_key, signing.PROOF_REPORT)
    return Response(signing.public_pem(key), content_type="application/x-pem-file")
