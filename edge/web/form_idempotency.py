"""Idempotent forms: each creates something once and shows its secret once. See `shared.operations.form_idempotency`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from edge.request_context import write
from edge.web.web_session import signed_in, visit
from shared.core.errors import AlreadySent, InvalidRequest
from shared.operations.form_idempotency import Shown, once, take_shown

Make = Callable[[], tuple[str, str]]
_NOT_CONTENT = ("csrf_token", "form_token")


async def create_once(form: MultiDict[str, str], make: Make) -> str:
    """Run `make` in a transaction, once per form. Return the form's id, for `shown`.

    `make` returns a reference of at most 200 characters and a secret, which may be "". Raises the errors of `make`, and
    `InvalidRequest` if the token was already used with other content.
    """
    session = signed_in()
    token, content = form.get("form_token", ""), _content(form)
    try:
        return await write(partial(_create, session.account, token, content, make, visit().secret))
    except AlreadySent as again:
        if not again.same:
            raise InvalidRequest(str(again)) from None
        return again.id


async def shown(form_id: str) -> Shown | None:
    """Return the result of a form of this account, with its secret only the first time; None for an unknown form."""
    return await write(partial(take_shown, signed_in().account, form_id, visit().secret, take=request.method == "GET"))


def _create(account: UUID, token: str, content: str, make: Make, session_secret: str) -> str:
    with once(account, token, content) as submission:
        submission.result, secret = make()
        if secret:
            submission.show(secret, session_secret)
        return submission.id


def _content(form: MultiDict[str, str]) -> str:
    fields = sorted((name, value) for name, value in form.items(multi=True) if name not in _NOT_CONTENT)
    return hashlib.sha256(repr((request.path, fields)).encode()).hexdigest()
