"""Whose change it is, and from where: what the audit trail records with every action."""

from __future__ import annotations

from typing import TypedDict

from flask_login import current_user

from console.security.client_ip import client_address


class By(TypedDict):
    actor: str
    address: str


def by() -> By:
    """Who acts and from where, as every operation takes it."""
    return {"actor": current_user.email, "address": client_address()}
