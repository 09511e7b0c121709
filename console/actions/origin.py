"""The origin of every change, for the audit log: the staff member and their IP address."""

from __future__ import annotations

from flask_login import current_user

from console.security.client_ip import client_address
from shared.operations.audit import Origin


def origin() -> Origin:
    """Return the origin that every operation takes: the actor's email and the client address."""
    return Origin(current_user.email, client_address())
