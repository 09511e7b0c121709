"""The identity that an OpenID provider confirms. Pure: unlike the rest of this package it does not import Authlib."""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """Someone whom the provider has authenticated. `groups` is empty unless a claim for them is configured."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
    groups: tuple[str, ...] = ()
