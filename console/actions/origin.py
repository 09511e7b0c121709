"""The audit arguments of every action: who makes the change, and from which address."""

from __future__ import annotations

from typing import TypedDict

from flask_login import current_user

from console.security.client_ip import client_address


class AuditArguments(TypedDict):
    actor: str
    address: str


def audit_arguments() -> AuditArguments:
    """Return the audit arguments that every operation takes: the actor's email and the client address."""
    return {"actor": current_user.email, "address": client_address()}
