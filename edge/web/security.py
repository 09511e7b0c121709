"""Account → Security: the passkeys, the second factor and the identities of the signed-in person."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import orjson
from markupsafe import Markup
from quart import Blueprint, Response

from edge.http.public_url import edge_url
from edge.identity.sessions import SessionRow
from edge.request_context import read, services
from edge.web.confirmation import required_of
from edge.web.pages import page
from edge.web.web_session import require_session
from shared.core.clock import now_ms
from shared.core.errors import SettingsError
from shared.core.secrets import seal, unseal
from shared.identity.passkeys import creation_options, new_challenge, relying_party, request_options
from shared.models import PersonPasskey
from shared.operations.identities import identities_of
from shared.operations.passkeys import PEOPLE as PASSKEYS
from shared.operations.second_factor import PEOPLE, new_secret

security = Blueprint("security", __name__)

OFFERED = "second-factor-offered"  # purpose of the key that encrypts the secret in the form
OFFERED_MS = 60 * 60 * 1000
PASSKEY_PURPOSE = "passkey-challenge"
PASSKEY_MS = 10 * 60 * 1000
MAX_SEALED = 4_000


@security.get("/account/security")
async def show() -> Response:
    return await security_page()


async def security_page(status: int = 200, wrong: dict[str, str] | None = None, offered: str = "") -> Response:
    """Return the page, with messages by the section that they belong to.

    `offered` is the encrypted secret that a refused form sent, so that the page shows the same QR code again.
    """
    session = require_session()
    required = await required_of(session.person)
    secret = "" if required.code else read_offered(offered, session.person) or new_secret()
    passkeys = await read(partial(PASSKEYS.list_of, session.person))
    passkey_options, passkey_challenge = _passkey_creation(session, passkeys)
    context = {
        "passkeys": passkeys,
        "passkey_options": passkey_options,
        "passkey_challenge": passkey_challenge,
        "required": required,
        "codes_left": await read(partial(PEOPLE.recovery_codes_left, session.person)),
        "secret": secret,
        "offered": offer_secret(session.person, secret) if secret else "",
        "qr_code": _qr_code(session.email, secret) if secret else "",
        "identities": await read(partial(identities_of, session.person)),
        "email": session.email,
        "wrong": wrong or {},
    }
    return await page("account/security.html", status, **context)


def offer_secret(person: UUID, secret: str) -> str:
    """Return a secret for an authenticator app, encrypted for a field of the form that confirms it."""
    return seal_values([person.hex, secret], OFFERED)


def read_offered(sealed: str, person: UUID) -> str:
    """Return the secret that the page offered to a person, or "" if it did not, or more than an hour ago."""
    values = unseal_values(sealed, OFFERED, OFFERED_MS)
    return values[1] if values is not None and values[0] == person.hex else ""


def passkey_site() -> str:
    """Return the id of this site for passkeys, or "" if browsers offer none here."""
    return relying_party(edge_url())


def passkey_request() -> tuple[str, str]:
    """Return the options of the sign-in page for passkeys as JSON, and the encrypted challenge; both "" without passkeys."""
    rp_id, challenge = passkey_site(), new_challenge()
    if not rp_id:
        return "", ""
    return orjson.dumps(request_options(rp_id, challenge)).decode(), seal_values([challenge, str(now_ms())], PASSKEY_PURPOSE)


def _passkey_creation(session: SessionRow, existing: list[PersonPasskey]) -> tuple[str, str]:
    rp_id, challenge = passkey_site(), new_challenge()
    if not rp_id:
        return "", ""
    options = creation_options(rp_id, challenge, session.person.bytes, session.email, [row.credential for row in existing])
    return orjson.dumps(options).decode(), seal_values([challenge, str(now_ms())], PASSKEY_PURPOSE)


def seal_values(values: list[str], purpose: str) -> str:
    """Encrypt values for a cookie or a form, with the current time."""
    return seal(orjson.dumps([*values, now_ms()]).decode(), services().settings.secret_key, purpose)


def unseal_values(sealed: str, purpose: str, lasts_ms: int) -> list[str] | None:
    """Return the values that `seal_values` encrypted, or None if they are not ours, or older than `lasts_ms`."""
    if not sealed or len(sealed) > MAX_SEALED or not sealed.isascii():
        return None
    try:
        *values, at = orjson.loads(unseal(sealed, services().settings.secret_key, purpose))
    except SettingsError:
        return None
    return values if 0 <= now_ms() - at < lasts_ms else None


def _qr_code(email: str, secret: str) -> Markup:
    """Return the QR code as SVG without a style attribute, which the content security policy forbids."""
    import segno  # few people open this page

    code = segno.make(PEOPLE.enrollment_url(email, secret), error="m")
    return Markup(code.svg_inline(scale=4, border=2, dark="#1c1b19", light="#ffffff", omitsize=False))  # noqa: S704  (segno's own)
