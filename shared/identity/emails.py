"""Normalizes email addresses, so that different spellings of one address match. Pure.

The local part is lowercased and NFC. The domain becomes Unicode (`bücher.example`, not `xn--bcher-kva.example`), mapped as
in browsers (UTS 46). Lowercasing the local part is our own rule: RFC 5321 leaves its meaning to the receiving host, and no
common host distinguishes `Ida@` from `ida@`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import idna

from shared.core.errors import InvalidInput
from shared.text.plain_text import truncate
from shared.text.translation import lazy_gettext

MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3
MAX_LOCAL_LENGTH = 64  # RFC 5321, 4.5.3.1.1
_ASCII_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


def normalize_email(text: str) -> str:
    """Return the normalized address. Raises `InvalidInput` if it is invalid."""
    if len(text) > 4 * MAX_LENGTH:
        raise InvalidInput(lazy_gettext("An email address can have at most {maximum} characters.", maximum=MAX_LENGTH))
    email = unicodedata.normalize("NFC", text.strip())
    local, at, domain = email.rpartition("@")
    local = unicodedata.normalize("NFC", local.lower())
    if not (local and at and domain) or "@" in local or " " in local or not local.isprintable():
        raise _invalid(text)
    found = f"{local}@{_canonical_domain(domain, text)}"
    if len(found) > MAX_LENGTH or len(local) > MAX_LOCAL_LENGTH:
        raise InvalidInput(
            lazy_gettext(
                "An email address can have at most {maximum} characters, and {max_local_length} of them before the @.",
                maximum=MAX_LENGTH,
                max_local_length=MAX_LOCAL_LENGTH,
            )
        )
    return found


def normalize_for_lookup(text: str) -> str:
    """Return the normalized address for a lookup. An invalid address matches no row, so it is truncated, not rejected."""
    try:
        return normalize_email(text)
    except InvalidInput:
        return text.strip().lower().replace("\0", "")[:MAX_LENGTH]


def require_domain(email: str, domains: Collection[str]) -> None:
    """Raise `InvalidInput` unless a normalized address is of one of `domains`. Subdomains are other domains. Empty allows all."""
    if domains and email.rpartition("@")[2] not in {_canonical_domain(domain, domain) for domain in domains}:
        raise InvalidInput(lazy_gettext("Only addresses of {domains} can sign up.", domains=", ".join(domains)))


def _canonical_domain(domain: str, text: str) -> str:
    plain = domain.lower().removesuffix(".")
    if plain.isascii() and "xn--" not in plain:
        if not all(_ASCII_LABEL.fullmatch(label) for label in plain.split(".")):
            raise _invalid(text)
        return plain
    try:
        ascii_form = idna.encode(domain, uts46=True).decode()  # raises for labels that are too long or have invalid characters
        return idna.decode(ascii_form.removesuffix("."))
    except (idna.IDNAError, UnicodeError):
        raise _invalid(text) from None


def _invalid(text: str) -> InvalidInput:
    shown = repr(truncate(text, 61, "…"))
    return InvalidInput(lazy_gettext("{email} is not a valid email address. Use the form name@example.com.", email=shown))
