"""Once: a form that is sent twice (a double click, a reload) takes effect one time, and its secret is shown one time.

A form carries a random token, which is claimed in the transaction of the operation. A secret that the operation made (an API
key, a password, codes) waits at most ten minutes in the claim's row for the page that shows it. It is sealed with a key that is
derived from the secret in the browser's session cookie, which no table holds: whoever has a copy of the database, and even
SECRET_KEY, opens none. Showing it deletes it.
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
    """A token for a form, made when the form is rendered: 22 characters."""
    return secrets.token_urlsafe(16)


@dataclass
class Submission:
    """The one use of a form, while its operation runs. `id` is the address of what it shows; `result` says what came of it."""

    id: str
    result: str = ""
    _sealed: str | None = None

    def show(self, secret: str, session_secret: str) -> None:
        """Keep `secret` for the page that shows it to the browser whose cookie holds `session_secret`."""
        self._sealed = _cipher(session_secret).encrypt(secret.encode()).decode()


class Shown(NamedTuple):
    """What a form made. `secret` is None once it was shown, and after ten minutes."""

    result: str
    secret: str | None


@contextmanager
def once(owner: UUID, token: str, content: str) -> Iterator[Submission]:
    """Run the operations inside this block in one transaction, one time for each `token` of an owner within 24 hours.

    `owner` is the account or staff member; `content` is what the form said. Raises `AlreadySent` before the block runs when the
    form was sent before, and `InvalidInput` for a token that no form of ours has. If the block raises, neither its changes nor
    the claim stay.
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
    """What the form with this id made, with its secret the first time. None for an unknown form, or somebody else's.

    Without `take` (a HEAD request) nothing counts as shown.
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
            secret = None  # of two readers at once, one takes it
        return Shown(row.result, secret)


def _unseal(row: FormSubmission, session_secret: str) -> str | None:
    if row.sealed is None or row.created_at + FORM_SECRET_MS <= now_ms():
        return None
    try:
        return _cipher(session_secret).decrypt(row.sealed.encode()).decode()
    except InvalidToken:  # asked for by another session of the same person: it stays for the one that made it
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
