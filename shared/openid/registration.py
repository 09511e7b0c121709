"""The registration of this installation at an identity provider. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class Registration(NamedTuple):
    """A client id and secret. `issuer` is the provider's URL, without a trailing slash, which its identities are known by."""

    issuer: str
    client_id: str
    client_secret: str

    @property
    def host(self) -> str:
        """The provider's host, for its name on pages."""
        return urlsplit(self.issuer).hostname or self.issuer
