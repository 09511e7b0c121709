"""Generates the comparison of all dialects' fields: `python -m shared.dialects.compatibility_table > docs/compatibility.md`."""

from __future__ import annotations

import sys
from typing import NamedTuple

import orjson

from shared.dialects import anthropic_fields, gemini_fields, openai_fields, responses_fields
from shared.dialects.field_support import Field, Fields


class Table(NamedTuple):
    """One dialect's tables: request fields, message fields, and types of content parts."""

    fields: Fields
    messages: Fields
    parts: Fields


TABLES = {
    name: Table(module.FIELDS, module.MESSAGE_FIELDS, module.PART_FIELDS)
    for name, module in (
        ("openai", openai_fields),
        ("responses", responses_fields),
        ("anthropic", anthropic_fields),
        ("gemini", gemini_fields),
    )
}
_HEAD = """# Compatibility: fields of chat requests in each dialect

This page is generated from the tables that the dialects use (`shared/dialects/*_fields.py`); a test compares it.

* **passed**: sent to the provider unchanged. **mapped**: translated to the provider's format, or handled by the platform.
  **refused**: a 400 `unsupported_parameter` that names the field. The values listed as accepted, and `null`, are always allowed.
* A field that is not listed is refused. Fields of other providers whose cost is known are passed to providers of OpenAI's format.
  [Cost effects](cost-effects.md) lists them, and says which fields need a rate in the model's price; without it, they are a 400
  `unpriced_parameter`.
* `models` and `provider` control [routing](routing.md), and `usage` requests the [cost in USD](api.md#what-comes-back). None of
  them is sent to a provider.
* Options of client libraries and proxies (`api_key`, `base_url`, `api_base`, `extra_headers`, `extra_body`, `timeout`, `proxies`,
  `custom_llm_provider`, `mock_response`, …) are never sent to a provider: they cause a 400 that names them, and `null` is
  ignored. The full list is in `edge/http/client_library_options.py`.
* If several channels serve a model, those that do not support a field are skipped, and the call goes to another.
"""


def render_page() -> str:
    """Return the whole page."""
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
    neutral = (
        f" (accepted: {', '.join(f'`{orjson.dumps(value).decode()}`' for value in field.accepted_values)})"
        if field.accepted_values
        else ""
    )
    return f"{field.support}{': ' + field.note if field.note else ''}{neutral}"


if __name__ == "__main__":
    sys.stdout.write(render_page())
