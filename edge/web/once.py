"""Forms that create something: each takes effect once, and what it made is shown once. See `shared.operations.once`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from edge.current import write
from edge.web.visit import signed_in, visit
from shared.errors import AlreadySent, InvalidRequest
from shared.operations.once import Shown, once, take_shown

Make = Callable[[], tuple[str, str]]
_NOT_CONTENT = ("csrf_token", "form_token")


async def create_once(form: MultiDict[str, str], make: Make) -> str:
    """Run `make` in a transaction, once for each form; gives the form's id, under which `shown` finds what was made.

    `make` gives a reference of at most 200 characters and a secret, which may be "". Raises what it raises, and `InvalidRequest`
    for a form whose token was used for something else.
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
    """What a form of this account made, with its secret the first time; None for any other form."""
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
