"""Forms that take effect only once, even after a double click or reload, and secrets that are shown once.

Each form has a random token, which is claimed in the operation's transaction. If the operation creates a secret (API key,
password, codes), the claim's row stores it for at most ten minutes; showing it deletes it. It is encrypted with a key from
the secret in the browser's session cookie, which is not in the database. So a copy of the database cannot decrypt it, even with
SECRET_KEY.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import peewee
from cryptography.fernet import Fernet, InvalidToken

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import AlreadySubmitted, InvalidInput
from shared.core.secrets import derive_key
from shared.models import FORM_SECRET_MS, FormSubmission
from shared.text.translation import lazy_gettext

CLAIM_LIFETIME_MS = 24 * 3600 * 1000
MAX_RESULT_LENGTH = 200


def new_token() -> str:
    """Return a new token of 22 characters for a rendered form."""
    return secrets.token_urlsafe(16)


@dataclass
class Submission:
    """A form submission while its operation runs. `id` is in the URL of the page that shows the `result`."""

    id: str
    result: str = ""
    _sealed: str | None = None

    def store_secret(self, secret: str, session_secret: str) -> None:
        """Store `secret` for the page that shows it, readable only with the `session_secret` in the browser's cookie."""
        self._sealed = _cipher(session_secret).encrypt(secret.encode()).decode()


class FormResult(NamedTuple):
    """The result of a form. `secret` is None if it was already shown, or after ten minutes."""

    result: str
    secret: str | None


@contextmanager
def submit_once(owner: UUID, token: str, content: str) -> Iterator[Submission]:
    """Run the block in one transaction, and only once per owner and `token` within 24 hours.

    `owner` is the account or staff member; `content` is the form's content. Raises `AlreadySubmitted` before the block runs if
    the
    form was already submitted, and `InvalidInput` for a malformed token. If the block raises, its changes and the claim are
    rolled back.
    """
    if not 16 <= len(token) <= 64 or not token.isascii():
        raise InvalidInput(lazy_gettext("The form is incomplete. Reload the page and fill it in again."))
    form = Submission(_digest(f"form:{owner.hex}:{token}"))
    with transaction():
        _claim(form.id, owner, _digest(content))
        yield form
        kept = {FormSubmission.result: form.result[:MAX_RESULT_LENGTH], FormSubmission.sealed: form._sealed}
        FormSubmission.update(kept).where(FormSubmission.digest == form.id).execute()


def take_shown(owner: UUID, id: str, session_secret: str, *, take: bool = True) -> FormResult | None:
    """Return the result of the form with this id, the first time with its secret. None if it is unknown or another owner's.

    With `take=False` (for HEAD requests) the secret is neither returned nor deleted.
    """
    with transaction():
        own = (FormSubmission.digest == id) & (FormSubmission.owner == owner)
        row = FormSubmission.get_or_none(own & (FormSubmission.expires_at > now_ms()))
        if row is None:
            return None
        if not take:
            return FormResult(row.result, None)
        secret = _unseal(row, session_secret)
        unshown = own & FormSubmission.sealed.is_null(False)
        if secret is not None and not FormSubmission.update(sealed=None).where(unshown).execute():
            secret = None  # a concurrent request has taken it
        return FormResult(row.result, secret)


def _unseal(row: FormSubmission, session_secret: str) -> str | None:
    if row.sealed is None or row.created_at + FORM_SECRET_MS <= now_ms():
        return None
    try:
        return _cipher(session_secret).decrypt(row.sealed.encode()).decode()
    except InvalidToken:  # another session of the owner: leave it for the one that created it
        return None


def _claim(digest: str, owner: UUID, body: str) -> None:
    now = now_ms()
    try:
        with transaction():  # a savepoint: PostgreSQL rejects queries after a failed statement
            FormSubmission.create(
                digest=digest, owner=owner, body_digest=body, created_at=now, expires_at=now + CLAIM_LIFETIME_MS
            )
    except peewee.IntegrityError:
        earlier = FormSubmission.get_by_id(digest)
        raise AlreadySubmitted(digest, earlier.result, same=earlier.body_digest == body) from None


def _cipher(session_secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(session_secret, "shown-once")))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
