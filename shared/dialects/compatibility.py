"""The tables of all dialects side by side, as a document: `python -m shared.dialects.compatibility > docs/compatibility.md`."""

from __future__ import annotations

import sys
from typing import NamedTuple

import orjson

from shared.dialects import anthropic_fields, gemini_fields, openai_fields
from shared.dialects.field_support import Field, Fields


class Table(NamedTuple):
    """One dialect's fields of a request, of a message in it, and its kinds of content parts."""

    fields: Fields
    messages: Fields
    parts: Fields


TABLES = {
    name: Table(module.FIELDS, module.MESSAGE_FIELDS, module.PART_FIELDS)
    for name, module in (("openai", openai_fields), ("anthropic", anthropic_fields), ("gemini", gemini_fields))
}
_HEAD = """# Compatibility: every field of a chat request in every dialect

This page is generated from the tables that the dialects use (`shared/dialects/*_fields.py`); a test compares it.

* **passed**: sent to the vendor as it is. **mapped**: said in the vendor's own words, or kept by the platform itself.
  **refused**: a 400 `unsupported_parameter` that names the field; of a refused field, values that ask for nothing are accepted
  where they are listed, and `null` always is.
* A field that is not listed is passed on to vendors of OpenAI's format, and refused by the others.
* `models` and `provider` choose the way of a call ([routing](routing.md)) and are told to no vendor.
* Options of client libraries and proxies (`api_key`, `base_url`, `api_base`, `extra_headers`, `extra_body`, `timeout`, `proxies`,
  `custom_llm_provider`, `mock_response`, …) are never sent to a provider: they get a 400 that names them, and `null` is
  dropped. The full list is in
  `edge/http/client_options.py`.
* Where several channels serve a model, one that has no place for a field is left out, and the call goes to another.
"""


def document() -> str:
    """The whole page."""
    sections = [_HEAD]
    for title, part in (("Request", 0), ("Messages", 1), ("Content parts", 2)):
        sections.append(f"## {title}\n\n{_table({name: table[part] for name, table in TABLES.items()})}")
    return "\n".join(sections)


def _table(columns: dict[str, Fields]) -> str:
    names = dict.fromkeys(name for fields in columns.values() for name in fields)
    lines = [f"| field | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for name in names:
        cells = [_cell(fields.get(name), dialect) for dialect, fields in columns.items()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(field: Field | None, dialect: str) -> str:
    if field is None:
        return "passed" if dialect == "openai" else "refused"
    neutral = f" (accepted: {', '.join(f'`{orjson.dumps(value).decode()}`' for value in field.neutral)})" if field.neutral else ""
    return f"{field.how}{': ' + field.note if field.note else ''}{neutral}"


if __name__ == "__main__":
    sys.stdout.write(document())
