"""Handles a submitted form: runs the action and redirects, or returns None so that the page shows the errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from flask import abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import FlaskForm

from console.forms.fields import SingleUseForm
from shared.core.errors import AlreadySubmitted, InvalidInput, SignInQueueFull, TooManyAttempts
from shared.operations.form_idempotency import FormResult, Submission, new_token, submit_once, take_shown

EXPECTED_ERRORS = (InvalidInput, TooManyAttempts, SignInQueueFull)


def run_action(action: Callable[[], str], target: str) -> ResponseReturnValue:
    """Run the action and redirect to `target`, flashing its message or that of the `InvalidInput` it raised."""
    try:
        flash(action(), "good")
    except InvalidInput as error:
        flash(str(error), "bad")
    return redirect(target, 303)


def submit_form(form: FlaskForm, action: Callable[[], str], target: str | Callable[[], str]) -> ResponseReturnValue | None:
    """Validate the form, run the action (once for a `SingleUseForm`), and redirect to `target`, a URL or a function called
    afterwards.

    Returns None if validation or the action fails; the errors are on `form`.
    """
    if not form.validate_on_submit():
        return None

    def destination() -> str:
        return target if isinstance(target, str) else target()

    try:
        if not isinstance(form, SingleUseForm):
            message, url = action(), destination()
        else:
            with _once(form) as submission:
                message, url = action(), destination()
                submission.result = url
    except AlreadySubmitted as error:
        if not error.same_content:
            form.form_errors = [str(error)]
            return None
        message, url = str(error), error.result
    except EXPECTED_ERRORS as error:
        form.form_errors = [str(error)]
        return None
    flash(message, "good")
    return redirect(url, 303)


def submit_with_secret(form: SingleUseForm, make: Callable[[], tuple[str, str]], endpoint: str) -> ResponseReturnValue | None:
    """Like `submit`, for a result with a secret that is shown once. Redirects to `endpoint` with the form's id.

    `make` returns the values for `shown`: a reference to the created object, of at most 200 characters, and the secret.
    """
    if not form.validate_on_submit():
        return None
    try:
        with _once(form) as submission:
            submission.result, secret = make()
            submission.store_secret(secret, current_user.get_id())
            id = submission.id
    except AlreadySubmitted as error:
        if not error.same_content:
            form.form_errors = [str(error)]
            return None
        id = error.id
    except EXPECTED_ERRORS as error:
        form.form_errors = [str(error)]
        return None
    return redirect(url_for(endpoint, form_id=id), 303)


def use_once(form: SingleUseForm) -> None:
    """Mark a validated form as used, before an action that cannot be part of a transaction, such as a call.

    The form gets a new token for when it is shown again. Raises `AlreadySubmitted`, and `InvalidInput` for a form without a
    token.
    """
    try:
        with _once(form):
            pass
    finally:
        form.token.data = new_token()


def take_shown_secret(form_id: str) -> FormResult:
    """Return the result of the signed-in person's form, with its secret the first time. Everyone else gets 404."""
    found = take_shown(current_user.person.id, form_id, current_user.get_id(), take=request.method == "GET")
    if found is None:
        abort(404)
    return found


def _once(form: SingleUseForm) -> AbstractContextManager[Submission]:
    return submit_once(current_user.person.id, form.token.data or "", f"{request.path} {form.fingerprint_text()}")
