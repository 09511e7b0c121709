"""Handles a submitted form: runs the action and redirects, or shows the page again with the errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from flask import abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import FlaskForm

from console.forms.fields import OnceForm
from shared.core.errors import AlreadySent, Busy, InvalidInput, TooManyAttempts
from shared.operations.form_idempotency import Shown, Submission, new_token, once, take_shown

REFUSALS = (InvalidInput, TooManyAttempts, Busy)


def perform(deed: Callable[[], str], target: str) -> ResponseReturnValue:
    """Do it, and go to `target` with its words, or with those of the `InvalidInput` that it raised."""
    try:
        flash(deed(), "good")
    except InvalidInput as problem:
        flash(str(problem), "bad")
    return redirect(target, 303)


def submit(form: FlaskForm, deed: Callable[[], str], target: str | Callable[[], str]) -> ResponseReturnValue | None:
    """Validate the form, run the action (once for a `OnceForm`), and redirect to `target`, which may be a function of the result.

    Returns None if validation or the action fails; the errors are on `form`.
    """
    if not form.validate_on_submit():
        return None

    def address() -> str:
        return target if isinstance(target, str) else target()

    try:
        if not isinstance(form, OnceForm):
            words, goal = deed(), address()
        else:
            with _once(form) as submission:
                words, goal = deed(), address()
                submission.result = goal
    except AlreadySent as again:
        if not again.same:
            form.form_errors = [str(again)]
            return None
        words, goal = str(again), again.result
    except REFUSALS as problem:
        form.form_errors = [str(problem)]
        return None
    flash(words, "good")
    return redirect(goal, 303)


def create(form: OnceForm, make: Callable[[], tuple[str, str]], endpoint: str) -> ResponseReturnValue | None:
    """Like `submit`, for a result with a secret that is shown once: redirects to the page `endpoint` with the form's id.

    `make` returns the values for `shown`: a reference to the created object, of at most 200 characters, and the secret.
    """
    if not form.validate_on_submit():
        return None
    try:
        with _once(form) as submission:
            submission.result, secret = make()
            submission.show(secret, current_user.get_id())
            id = submission.id
    except AlreadySent as again:
        if not again.same:
            form.form_errors = [str(again)]
            return None
        id = again.id
    except REFUSALS as problem:
        form.form_errors = [str(problem)]
        return None
    return redirect(url_for(endpoint, form_id=id), 303)


def claim(form: OnceForm) -> None:
    """Use the one time that a checked form has, before something that no transaction can hold, such as a call.

    The form gets a new token, for when it is shown again. Raises `AlreadySent`, and `InvalidInput` for a form without a token.
    """
    try:
        with _once(form):
            pass
    finally:
        form.token.data = new_token()


def shown(form_id: str) -> Shown:
    """The result of a form of the signed-in person, the first time with its secret. Everyone else gets 404."""
    found = take_shown(current_user.person.id, form_id, current_user.get_id(), take=request.method == "GET")
    if found is None:
        abort(404)
    return found


def _once(form: OnceForm) -> AbstractContextManager[Submission]:
    return once(current_user.person.id, form.token.data or "", f"{request.path} {form.content()}")
