"""Every form of the console: its fields, and what is wrong with them in words that say what to do."""

from __future__ import annotations

import re
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, PasswordField, SelectField, StringField
from wtforms.validators import EqualTo, InputRequired, Length, StopValidation
from wtforms.widgets import TextInput

from shared.core.errors import InvalidInput
from shared.core.formats import credits
from shared.identity.passwords import MAX_TYPED, SHORTEST
from shared.models import STAFF_ROLES
from shared.operations.form_idempotency import new_token

_WHOLE = re.compile(r"[+-]?\d{1,19}")  # accepted by `int`, including digits of other scripts
_SEPARATORS = str.maketrans("", "", " _\u2009\u202f\u00a0")


class WholeNumber(Field):
    """A whole number as people write it: `50000`, `50 000`, `-200`. A comma is refused: it means two things.

    `data` is an int, or None when the field is `optional` and empty.
    """

    widget = TextInput()

    def __init__(self, label: str, optional: bool = False, **arguments: Any) -> None:
        super().__init__(label, **arguments)
        self.optional = optional
        self.typed: str | None = None
        self.data: int | None

    def number(self) -> int:
        """The number of a field that was checked and is not optional."""
        if self.data is None:
            raise InvalidInput(f"{self.label.text}: write a whole number.")
        return self.data

    def _value(self) -> str:
        if self.typed is not None:
            return self.typed
        return "" if self.data is None else credits(self.data)

    def process_formdata(self, valuelist: list[str]) -> None:
        if not valuelist:
            return
        self.typed, self.data = valuelist[0].strip(), None
        digits = self.typed.translate(_SEPARATORS).replace("\u2212", "-")
        if not digits and self.optional:
            return
        if not _WHOLE.fullmatch(digits):
            raise ValueError("Write a whole number, such as 50 000, without a comma or a point.")
        self.data = int(digits)

    def pre_validate(self, form: Any) -> None:  # noqa: ARG002  (how WTForms calls it)
        """A field that the form did not even send is as wrong as an empty one."""
        if self.data is None and not self.optional and not self.process_errors:
            raise StopValidation("Write a whole number.")


class OnceForm(FlaskForm):
    """A form that creates something. Its `token` makes it take effect only once."""

    token = HiddenField(default=new_token)

    def content(self) -> str:
        """The content that identifies a repeated submission; without secrets, which a stored digest would make guessable."""
        kept = {field.name: str(field.data) for field in self if not isinstance(field, PasswordField | HiddenField)}
        return " ".join(f"{name}={value!r}" for name, value in sorted(kept.items()))


class SignInForm(FlaskForm):
    email = StringField("E-mail", [InputRequired("Enter your e-mail address."), Length(max=254)])
    password = PasswordField("Password", [InputRequired("Enter your password."), Length(max=MAX_TYPED)])


class CodeForm(FlaskForm):
    code = StringField(
        "Code", [InputRequired("Enter the code."), Length(max=40)], description="Six digits from your app, or a recovery code."
    )


class OwnPasswordForm(FlaskForm):
    current = PasswordField("Present password", [InputRequired("Enter your present password."), Length(max=MAX_TYPED)])
    new = PasswordField(
        "New password",
        [InputRequired("Enter a new password."), Length(SHORTEST, MAX_TYPED, f"Use at least {SHORTEST} characters.")],
        description=f"At least {SHORTEST} characters. A few words that you can remember are good.",
    )
    again = PasswordField("New password again", [EqualTo("new", "The two are not the same.")])


class EnrolForm(OnceForm):
    password = PasswordField("Your password", [InputRequired("Enter your password."), Length(max=MAX_TYPED)])
    code = StringField("Code that the app shows", [InputRequired("Enter the six digits that the app shows."), Length(max=40)])


class ConfirmForm(OnceForm):
    """Password and code, required before the second factor is turned off or recovery codes are replaced."""

    password = PasswordField("Your password", [InputRequired("Enter your password."), Length(max=MAX_TYPED)])
    code = StringField(
        "Code", [InputRequired("Enter the code."), Length(max=40)], description="Six digits from your app, or a recovery code."
    )


class RoleForm(FlaskForm):
    role = SelectField("Role", choices=list(STAFF_ROLES))


class NewStaffForm(OnceForm, RoleForm):
    email = StringField("E-mail", [InputRequired("Enter their e-mail address."), Length(max=254)])


class ResetPasswordForm(OnceForm):
    """Only a button: resets a staff member's password."""


class CreditsForm(OnceForm):
    """Grant or take credits."""

    amount = WholeNumber("Credits", description="A number below zero takes credits away.")
    reason = StringField(
        "Reason",
        [InputRequired("Say why; the customer's ledger shows it."), Length(max=500)],
        description="Kept in the ledger and the audit log.",
    )


class RevokeForm(FlaskForm):
    confirmation = StringField("Type the key's name to confirm", [InputRequired("Type the key's name.")])


class SecretForm(FlaskForm):
    secret = PasswordField(
        "New secret",
        [InputRequired("Paste the secret that the vendor gave."), Length(max=10_000)],
        description="It is sealed at once and never shown again.",
    )
