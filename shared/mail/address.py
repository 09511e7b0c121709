"""Recipients: email addresses in the form that SMTP sends. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import idna

from shared.core.errors import InvalidInput
from shared.core.lazy_import import lazy_import
from shared.identity.emails import normalize_email
from shared.text.translation import lazy_gettext

if TYPE_CHECKING:
    from email import headerregistry
else:
    headerregistry = lazy_import("email.headerregistry")  # 0.5 MB; needed only to send emails

# A dot-atom (RFC 5322, 3.2.3), with the non-ASCII characters of RFC 6531. It needs no quotes in a header or a command.
_ATOM = r"(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f])+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")


def recipient(email: str) -> headerregistry.Address:
    """Return the address to send to, with its domain in ASCII (`xn--…`).

    Raises `InvalidInput` for an invalid address, and for one that would need quotes, such as `a,b@example.com`: few servers
    accept those, and a quoting mistake would send the email to someone else.
    """
    local, _, domain = normalize_email(email).rpartition("@")
    if not _DOT_ATOM.fullmatch(local):
        raise InvalidInput(
            lazy_gettext("We cannot send email to this address. Use one without quotes, commas or brackets before the @.")
        )
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise InvalidInput(lazy_gettext("We cannot send email to the domain of this address.")) from None
    return headerregistry.Address(username=local, domain=ascii_domain)
