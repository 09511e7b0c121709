"""Generates the page about cost effects: `python -m shared.billing.cost_page > docs/cost-effects.md`."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from shared.billing.cost_effects import OTHER_CHAT, OTHER_KINDS, PARTS, SURFACES, USAGE, Effect
from shared.billing.rates import FALLBACKS, LABELS

_HEAD = """# Cost effects of request fields and reported usage

This page is generated from the table that the edge uses (`shared/billing/cost_effects.py`); a test compares it.

* **free**: costs nothing.
* **tokens**: the provider counts it in tokens of these kinds.
* **priced**: charged separately. If the model's [price](billing.md#prices) has no rate for it, the call is a 400
  `unpriced_parameter` that names the field.
* **multiplies**: a factor on the token rates. If the price has no rate for it, the call is a 400, too.
* **units**: part of what a [media price](media.md#what-it-costs) is for: an image, five seconds of video, 1,000 characters.
* **refused**: never sent to a provider.
* The cost of a field that is not listed is unknown, so it is a 400 `unpriced_parameter`.
* If staff [allow the field](billing.md#parameters-without-a-price) on one of the model's channels, that channel serves the call.
* `null` requests nothing and is always accepted.
"""
_SECTIONS = {
    "chat": "Chat completions",
    "completions": "Completions",
    "messages": "Messages",
    "responses": "Responses",
    "gemini": "Gemini's own fields",
}
_KINDS = {
    "embedding": "Embeddings",
    "rerank": "Rerank",
    "moderation": "Moderations",
    "transcription": "Transcriptions and translations",
    "image": "Images",
    "image edit": "Image edits",
    "image variation": "Image variations",
    "video": "Videos",
    "speech": "Speech",
}


def render_page() -> str:
    """Return the page in Markdown."""
    sections = [_HEAD]
    for name, title in _SECTIONS.items():
        sections.append(f"## {title}\n\n{_table(SURFACES[name])}")
        if name == "chat":
            sections.append(f"## Chat completions: fields of other APIs and providers\n\n{_table(OTHER_CHAT)}")
            sections.append(f"## Chat completions: content parts\n\n{_table(PARTS)}")
    for kind, fields in OTHER_KINDS.items():
        sections.append(f"## {_KINDS[kind]}\n\n{_table(fields)}")
    sections.append(f"## Kinds of rates\n\n{_kinds()}")
    for dialect, numbers in USAGE.items():
        sections.append(f"## Usage of the dialect `{dialect}`\n\n{_usage(numbers)}")
    return "\n".join(sections)


def _table(fields: Mapping[str, Effect]) -> str:
    """Return a table with one row for all fields of the same effect."""
    names: dict[Effect, list[str]] = {}
    for name, effect in fields.items():
        names.setdefault(effect, []).append(name)
    lines = ["| fields | cost | kinds | |", "|---|---|---|---|"]
    for effect, same in names.items():
        kinds = ", ".join(f"`{kind}`" for kind in effect.kinds)
        lines.append(f"| {', '.join(f'`{name}`' for name in same)} | {effect.cost} | {kinds} | {effect.note} |")
    return "\n".join(lines) + "\n"


def _kinds() -> str:
    lines = ["| kind | | without a rate of its own |", "|---|---|---|"]
    for kind, label in LABELS.items():
        fallback = f"as `{FALLBACKS[kind]}`" if FALLBACKS.get(kind) else "0"
        lines.append(f"| `{kind}` | {label} | {fallback} |")
    return "\n".join(lines) + "\n"


def _usage(numbers: Mapping[str, str]) -> str:
    lines = ["| number | charged as |", "|---|---|"]
    for path, kinds in numbers.items():
        text = ", ".join(f"`{kind}`" for kind in kinds.split(", ")) if kinds else "not charged: another number includes it"
        lines.append(f"| `{path}` | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_page())
