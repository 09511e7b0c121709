"""JSON Schema in the subset that a provider takes: one converter, and a profile for each provider. Pure.

convert(schema, profile)     a schema of the profile's subset that accepts whatever the original accepts
object_at_root(schema)       the same schema with an object at its root, for providers that take everything below it

What only narrows a value and has no keyword in the subset goes into the description, where the model reads it. What cannot be
said at all raises `Unconvertible`, which names the place.
"""

from shared.dialects.json_schema.convert import convert, object_at_root
from shared.dialects.json_schema.merge import Unconvertible, Work
from shared.dialects.json_schema.profiles import ANTHROPIC, GEMINI, OPENAI, Profile

__all__ = ["ANTHROPIC", "GEMINI", "OPENAI", "Profile", "Unconvertible", "Work", "convert", "object_at_root"]
