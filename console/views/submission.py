"""What happens to a form that was sent: the deed and a redirect, or the same page with what is wrong beside the fields."""

from __future__ import annotations

from collections.abc import Callable

from flask import flash, redirect
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from shared.errors import InvalidInput


def perform(deed: Callable[[], str], target: str) -> ResponseReturnValue:
    """Do it, and go to `target` with its words, or with those of the `InvalidInput` that it raised."""
    try:
        flash(deed(), "good")
    except InvalidInput as problem:
        flash(str(problem), "bad")
    return redirect(target, 303)


def submit(form: FlaskForm, deed: Callable[[], str], target: str | Callable[[], str]) -> ResponseReturnValue | None:
    """Check the form, do it and go to `target` (a function where that is known only afterwards).

    None when something is wrong: then `form` knows what, to be shown again.
    """
    if not form.validate_on_submit():
        return None
    try:
        words = deed()
    except InvalidInput as problem:
        form.form_errors = [str(problem)]
        return None
    flash(words, "good")
    return redirect(target if isinstance(target, str) else target(), 303)
