"""Dialects: pure translators between our requests and answers and the wire formats of providers. They do no I/O.

The canonical form is OpenAI's chat completion and its chunks. A provider that uses one of these dialects is a `Channel` row, not
code. A new dialect is a module that implements `base.Dialect`.
"""

from shared.dialects.anthropic import ANTHROPIC
from shared.dialects.base import Dialect
from shared.dialects.gemini import GEMINI
from shared.dialects.openai import OPENAI
from shared.dialects.responses import RESPONSES

DIALECTS: dict[str, Dialect] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "responses": RESPONSES}
