"""Form fields and forms shared by the console's pages."""

from __future__ import annotations

import re
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, PasswordField, SelectField, StringField
from wtforms.validators import EqualTo, InputRequired, Length, StopValidation
from wtforms.widgets import TextInput

from shared.core.errors import InvalidInput
from shared.core.formats import format_credits
from shared.identity.passwords import MAX_INPUT_LENGTH, MIN_LENGTH
from shared.models import STAFF_ROLES
from shared.operations.form_idempotency import new_token
from shared.text.translation import current_language, gettext, lazy_gettext
from shared.text.words import WORDS

_WHOLE = re.compile(r"[+-]?\d{1,19}")  # everything `int` accepts, digits of other scripts included
_SEPARATORS = str.maketrans("", "", " _\u2009\u202f\u00a0")


class WholeNumber(Field):
    """A whole number, such as `50000`, `50 000` or `-200`. A comma is rejected, because its meaning depends on the locale.

    `data` is an int, or None if the field is `optional` and empty.
    """

    widget = TextInput()

    def __init__(self, label: str, optional: bool = False, **arguments: Any) -> None:
        super().__init__(label, **arguments)
        self.optional = optional
        self.raw_text: str | None = None
        self.data: int | None

    def required_value(self) -> int:
        """Return the value of a required field that was validated."""
        if self.data is None:
            raise InvalidInput(gettext("{text}: enter a whole number.", text=self.label.text))
        return self.data

    def _value(self) -> str:
        if self.raw_text is not None:
            return self.raw_text
        return "" if self.data is None else format_credits(self.data)

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        self.raw_text, self.data = valuelist[0].strip(), None
        digits = self.raw_text.translate(_SEPARATORS).replace("\u2212", "-")
        if not digits and self.optional:
            return
        if not _WHOLE.fullmatch(digits):
            raise ValueError(gettext("Enter a whole number, such as 50 000, without commas or decimal points."))
        self.data = int(digits)

    def pre_validate(self, form: Any) -> None:  # noqa: ARG002  (how WTForms calls it)
        """Reject a field that is missing from the form, like an empty one."""
        if self.data is None and not self.optional and not self.process_errors:
            raise StopValidation(gettext("Enter a whole number."))


class LocalizedForm(FlaskForm):
    """The base of all forms. WTForms' own messages are in the language of the request."""

    class Meta(FlaskForm.Meta):
        @property
        def locales(self) -> list[str]:
            """The languages of WTForms' messages, best first."""
            return [current_language()]


class SingleUseForm(LocalizedForm):
    """A form that creates something. Its `token` ensures that it takes effect only once."""

    token = HiddenField(default=new_token)

    def fingerprint_text(self) -> str:
        """Return the content that identifies a repeated submission.

        Secrets are left out: a stored digest would let them be guessed.
        """
        values = {field.name: str(field.data) for field in self if not isinstance(field, PasswordField | HiddenField)}
        return " ".join(f"{name}={value!r}" for name, value in sorted(values.items()))


class SignInForm(LocalizedForm):
    email = StringField(lazy_gettext("Email"), [InputRequired(lazy_gettext("Enter your email.")), Length(max=254)])
    password = PasswordField(
        lazy_gettext("Password"), [InputRequired(lazy_gettext("Enter your password.")), Length(max=MAX_INPUT_LENGTH)]
    )


class CodeForm(LocalizedForm):
    code = StringField(
        lazy_gettext("Code"),
        [InputRequired(lazy_gettext("Enter the code.")), Length(max=40)],
        description=lazy_gettext("Six-digit code from your app, or a recovery code."),
    )


class OwnPasswordForm(CodeForm):
    current = PasswordField(
        lazy_gettext("Current password"),
        [InputRequired(lazy_gettext("Enter your current password.")), Length(max=MAX_INPUT_LENGTH)],
    )
    new = PasswordField(
        lazy_gettext("New password"),
        [
            InputRequired(lazy_gettext("Enter a new password.")),
            Length(MIN_LENGTH, MAX_INPUT_LENGTH, lazy_gettext("Use at least {minimum} characters.", minimum=MIN_LENGTH)),
        ],
        description=lazy_gettext("At least {minimum} characters. A few random words work well.", minimum=MIN_LENGTH),
    )
    again = PasswordField(lazy_gettext("Confirm new password"), [EqualTo("new", lazy_gettext("The passwords do not match."))])


class EnrollForm(SingleUseForm):
    password = PasswordField(
        lazy_gettext("Your password"), [InputRequired(lazy_gettext("Enter your password.")), Length(max=MAX_INPUT_LENGTH)]
    )
    code = StringField(
        lazy_gettext("Code from the app"), [InputRequired(lazy_gettext("Enter the six-digit code from the app.")), Length(max=40)]
    )


class ConfirmForm(SingleUseForm, CodeForm):
    """Password and code, required to turn off the second factor or replace recovery codes."""

    password = PasswordField(
        lazy_gettext("Your password"), [InputRequired(lazy_gettext("Enter your password.")), Length(max=MAX_INPUT_LENGTH)]
    )


class PasskeyForm(CodeForm):
    """The password and code that confirm a new or removed passkey; a script fills in the browser's answer for a new one."""

    password = PasswordField(
        lazy_gettext("Your password"), [InputRequired(lazy_gettext("Enter your password.")), Length(max=MAX_INPUT_LENGTH)]
    )
    credential = HiddenField()


class RoleForm(LocalizedForm):
    role = SelectField(lazy_gettext("Role"), choices={role: WORDS[role] for role in STAFF_ROLES})


class NewStaffForm(SingleUseForm, RoleForm):
    email = StringField(lazy_gettext("Email"), [InputRequired(lazy_gettext("Enter their email.")), Length(max=254)])


class ResetPasswordForm(SingleUseForm):
    """A button that resets a staff member's password."""


class CreditsForm(SingleUseForm):
    """Grants or deducts credits."""

    amount = WholeNumber(lazy_gettext("Credits"), description=lazy_gettext("A negative number deducts credits."))
    reason = StringField(
        lazy_gettext("Reason"),
        [InputRequired(lazy_gettext("Enter a reason.")), Length(max=500)],
        description=lazy_gettext("Visible to the customer in their ledger."),
    )


class RevokeForm(LocalizedForm):
    confirmation = StringField(
        lazy_gettext("Type the key's name to confirm"), [InputRequired(lazy_gettext("Type the key's name."))]
    )


class SecretForm(LocalizedForm):
    secret = PasswordField(
        lazy_gettext("New secret"),
        [InputRequired(lazy_gettext("Paste the secret from the provider.")), Length(max=10_000)],
        description=lazy_gettext("Encrypted when saved. It is never shown again."),
    )
