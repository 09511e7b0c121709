"""How each field of a chat request is handled by a dialect: one declaration for the code, its tests and the documentation.

No field is dropped silently: a field that is not in a dialect's table is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn

from shared.dialects.base import UnsupportedField

MAX_NAME_LENGTH = 100  # maximum length of a field name in an error


class Field(NamedTuple):
    """How a dialect handles one field.

    support  `mapped`: translated to the provider's format, or handled by the platform; `passed`: sent under the same name;
             `refused`: a 400 that names the field
    note     text for the documentation
    accepted_values  accepted values of a refused field, because they request nothing special
    """

    support: Literal["mapped", "passed", "refused"]
    note: str = ""
    accepted_values: tuple[Any, ...] = ()


Fields = Mapping[str, Field]


def mapped(note: str = "") -> Field:
    return Field("mapped", note)


def passed(note: str = "") -> Field:
    return Field("passed", note)


def refused(note: str = "", *neutral: Any) -> Field:
    return Field("refused", note, neutral)


def check_fields(body: Mapping[str, Any], fields: Fields, where: str = "") -> None:
    """Raise `UnsupportedField` for the first field of `body` that is refused or unknown. `where` is the path to it."""
    for name, value in body.items():
        if value is None:
            continue
        field = fields.get(name)
        if field is None or (field.support == "refused" and not _is_neutral(value, field.accepted_values)):
            raise_unsupported(f"{where}{name[:MAX_NAME_LENGTH]}", field.note if field is not None else "")


def raise_unsupported(param: str, reason: str = "") -> NoReturn:
    """Raise `UnsupportedField` for the field at the path `param`."""
    raise UnsupportedField(param, reason)


def passed_fields(body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return the fields of `body` that are sent to the provider unchanged."""
    return {name: body[name] for name, field in fields.items() if field.support == "passed" and body.get(name) is not None}


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Return whether a refused field has a value without effect. `True` is not equal to 1 here."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)
