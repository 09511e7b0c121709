"""Dialects: wire formats of vendors, as pure translators. They never call: values in, bytes out; bytes in, values out.

The canonical form between dialects and surfaces is OpenAI's chat completion and its chunks. A vendor that speaks a dialect listed
here is a `Channel` row, not code. A new dialect is one new module with the functions of `base.Dialect`.
"""

from shared.dialects.anthropic import ANTHROPIC
from shared.dialects.base import Dialect
from shared.dialects.gemini import GEMINI
from shared.dialects.openai import OPENAI

DIALECTS: dict[str, Dialect] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}
