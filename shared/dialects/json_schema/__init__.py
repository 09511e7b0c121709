"""Converts JSON Schemas to the subset that a provider supports, described by a profile. Pure.

convert(schema, profile)     return a schema in the profile's subset that accepts whatever the original accepts
object_at_root(schema)       return the schema with an object at its root, for providers that support everything below it

Constraints without a keyword in the subset are added to the description, for the model. What cannot be expressed at all raises
`Unconvertible` with its path.
"""

from shared.dialects.json_schema.convert import convert, object_at_root
from shared.dialects.json_schema.merge import Unconvertible, WorkBudget
from shared.dialects.json_schema.profiles import ANTHROPIC, GEMINI, OPENAI, Profile

__all__ = ["ANTHROPIC", "GEMINI", "OPENAI", "Profile", "Unconvertible", "WorkBudget", "convert", "object_at_root"]
