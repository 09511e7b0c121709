"""Idempotent forms: each creates something once and shows its secret once. See `shared.operations.form_idempotency`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from edge.request_context import write
from edge.web.web_session import page_session, require_session
from shared.core.errors import AlreadySubmitted, InvalidRequest
from shared.operations.form_idempotency import FormResult, submit_once, take_shown

CreateFunction = Callable[[], tuple[str, str]]
_NOT_CONTENT = ("csrf_token", "form_token")


async def create_once(form: MultiDict[str, str], make: CreateFunction) -> str:
    """Run `make` in a transaction, once per form. Return the form's id, for `shown`.

    `make` returns a reference of at most 200 characters and a secret, which may be "". Raises the errors of `make`, and
    `InvalidRequest` if the token was already used with other content.
    """
    session = require_session()
    token, content = form.get("form_token", ""), _content(form)
    try:
        return await write(partial(_create, session.account, token, content, make, page_session().secret))
    except AlreadySubmitted as again:
        if not again.same_content:
            raise InvalidRequest(str(again)) from None
        return again.id


async def shown(form_id: str) -> FormResult | None:
    """Return the result of a form of this account, with its secret only the first time; None for an unknown form."""
    return await write(
        partial(take_shown, require_session().account, form_id, page_session().secret, take=request.method == "GET")
    )


def _create(account: UUID, token: str, content: str, make: CreateFunction, session_secret: str) -> str:
    with submit_once(account, token, content) as submission:
        submission.result, secret = make()
        if secret:
            submission.store_secret(secret, session_secret)
        return submission.id


def _content(form: MultiDict[str, str]) -> str:
    fields = sorted((name, value) for name, value in form.items(multi=True) if name not in _NOT_CONTENT)
    return hashlib.sha256(repr((request.path, fields)).encode()).hexdigest()
