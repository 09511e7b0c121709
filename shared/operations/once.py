"""Form submissions that take effect once, even after a double click or reload, and secrets that are shown once.

A form has a random token, which is claimed in the operation's transaction. A secret that the operation creates (an API key, a
password, codes) is stored in the claim's row for at most ten minutes, for the page that shows it; showing it deletes it. It is
encrypted with a key derived from the secret in the browser's session cookie, which is not in the database: a copy of the
database, even with SECRET_KEY, cannot decrypt it.
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

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import AlreadySent, InvalidInput
from shared.models import FORM_SECRET_MS, FormSubmission
from shared.secrets import derive_key

REMEMBERED_MS = 24 * 3600 * 1000
MAX_RESULT_LENGTH = 200


def new_token() -> str:
    """A new token for a rendered form: 22 characters."""
    return secrets.token_urlsafe(16)


@dataclass
class Submission:
    """The submission of a form, while its operation runs. `id` is in the URL of the page that shows the `result`."""

    id: str
    result: str = ""
    _sealed: str | None = None

    def show(self, secret: str, session_secret: str) -> None:
        """Store `secret` for the page that shows it, readable only by the browser whose cookie holds `session_secret`."""
        self._sealed = _cipher(session_secret).encrypt(secret.encode()).decode()


class Shown(NamedTuple):
    """The result of a form. `secret` is None after it was shown, and after ten minutes."""

    result: str
    secret: str | None


@contextmanager
def once(owner: UUID, token: str, content: str) -> Iterator[Submission]:
    """Run the block in one transaction, and only once per `token` of an owner within 24 hours.

    `owner` is the account or staff member; `content` is the form's content. Raises `AlreadySent` before the block runs if the
    form was already submitted, and `InvalidInput` for a malformed token. If the block raises, its changes and the claim are
    rolled back.
    """
    if not 16 <= len(token) <= 64 or not token.isascii():
        raise InvalidInput("The form is incomplete. Reload the page and fill it in again.")
    form = Submission(_digest(f"form:{owner.hex}:{token}"))
    with transaction():
        _claim(form.id, owner, _digest(content))
        yield form
        kept = {FormSubmission.result: form.result[:MAX_RESULT_LENGTH], FormSubmission.sealed: form._sealed}
        FormSubmission.update(kept).where(FormSubmission.digest == form.id).execute()


def take_shown(owner: UUID, id: str, session_secret: str, *, take: bool = True) -> Shown | None:
    """The result of the form with this id, the first time with its secret. None for an unknown form, or another owner's.

    Without `take` (a HEAD request) the secret is not returned and stays unshown.
    """
    with transaction():
        own = (FormSubmission.digest == id) & (FormSubmission.owner == owner)
        row = FormSubmission.get_or_none(own & (FormSubmission.expires_at > now_ms()))
        if row is None:
            return None
        if not take:
            return Shown(row.result, None)
        secret = _unseal(row, session_secret)
        unshown = own & FormSubmission.sealed.is_null(False)
        if secret is not None and not FormSubmission.update(sealed=None).where(unshown).execute():
            secret = None  # another request has just taken it
        return Shown(row.result, secret)


def _unseal(row: FormSubmission, session_secret: str) -> str | None:
    if row.sealed is None or row.created_at + FORM_SECRET_MS <= now_ms():
        return None
    try:
        return _cipher(session_secret).decrypt(row.sealed.encode()).decode()
    except InvalidToken:  # another session of the same person: the secret stays for the session that created it
        return None


def _claim(digest: str, owner: UUID, body: str) -> None:
    now = now_ms()
    try:
        with transaction():  # a savepoint: PostgreSQL refuses the look-up below in a transaction that failed
            FormSubmission.create(digest=digest, owner=owner, body_digest=body, created_at=now, expires_at=now + REMEMBERED_MS)
    except peewee.IntegrityError:
        earlier = FormSubmission.get_by_id(digest)
        raise AlreadySent(digest, earlier.result, same=earlier.body_digest == body) from None


def _cipher(session_secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(session_secret, "shown-once")))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
