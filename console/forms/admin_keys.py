"""The form for keys of the administration API."""

from __future__ import annotations

from typing import Any

from wtforms import SelectMultipleField, StringField, ValidationError
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput

from console.forms.fields import SingleUseForm, WholeNumber
from shared.core.clock import now_ms
from shared.identity.admin_scopes import ALL, SCOPES
from shared.operations.admin_keys import MAX_NAME_LENGTH
from shared.text.translation import gettext, lazy_gettext

_DAY_MS = 24 * 3600 * 1000


class AdminKeyForm(SingleUseForm):
    name = StringField(
        lazy_gettext("Name"),
        [InputRequired(lazy_gettext("Enter a name.")), Length(max=MAX_NAME_LENGTH)],
        description=lazy_gettext("What the key is for. The audit log shows it."),
    )
    scopes = SelectMultipleField(
        lazy_gettext("Scopes"), choices={scope: scope for scope in (*SCOPES, ALL)}, option_widget=CheckboxInput()
    )
    days = WholeNumber(lazy_gettext("Valid for (days)"), optional=True, description=lazy_gettext("Leave empty for no expiry."))

    def validate_scopes(self, field: Any) -> None:
        """Reject a key that could do nothing."""
        if not field.data:
            raise ValidationError(gettext("Choose at least one scope."))

    def validate_days(self, field: Any) -> None:
        """Reject a key that would have expired from the start."""
        if field.data is not None and not 1 <= field.data <= 36_500:
            raise ValidationError(gettext("Enter 1 to 36 500 days, or leave it empty."))

    def terms(self) -> tuple[str, list[str], int | None]:
        """Return the name, the scopes and the expiry (ms UTC, None for never)."""
        days = self.days.data
        return self.name.data or "", self.scopes.data or [], None if days is None else now_ms() + days * _DAY_MS
