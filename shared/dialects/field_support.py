"""What becomes of each field of a chat request in a dialect: declared once, for the builder, its tests and the documentation.

No field is dropped in silence: a field that is not in a dialect's table is refused, with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn

from shared.dialects.base import UnsupportedField

LONGEST_NAME = 100  # of a field, as far as an error repeats it


class Field(NamedTuple):
    """How a dialect treats one field.

    how      `mapped`: said to the vendor in its own words, or kept by the platform itself; `passed`: sent under the same name;
             `refused`: a 400 that names the field
    note     for the reader of the documentation
    neutral  values of a refused field that ask for nothing special, and are accepted
    """

    how: Literal["mapped", "passed", "refused"]
    note: str = ""
    neutral: tuple[Any, ...] = ()


Fields = Mapping[str, Field]


def mapped(note: str = "") -> Field:
    return Field("mapped", note)


def passed(note: str = "") -> Field:
    return Field("passed", note)


def refused(note: str = "", *neutral: Any) -> Field:
    return Field("refused", note, neutral)


def check_fields(body: Mapping[str, Any], fields: Fields, where: str = "") -> None:
    """Raise `UnsupportedField` for the first field of `body` that is refused, or not known. `where` is the path to it."""
    for name, value in body.items():
        if value is None:
            continue
        field = fields.get(name)
        if field is None or (field.how == "refused" and not _is_neutral(value, field.neutral)):
            refuse(f"{where}{name[:LONGEST_NAME]}", field.note if field is not None else "")


def refuse(param: str, why: str = "") -> NoReturn:
    """Raise `UnsupportedField` for the field at the path `param`."""
    raise UnsupportedField(param, why)


def passed_on(body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The fields of `body` that the vendor gets as they are."""
    return {name: body[name] for name, field in fields.items() if field.how == "passed" and body.get(name) is not None}


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a refused field's value asks for nothing; `True` is no 1 here."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)
