"""Templates of channels: what is known of a vendor before anybody has a key. Data, and pure."""

from shared.channel_templates.known_models import KnownModel
from shared.channel_templates.vendors import TEMPLATES, Template

__all__ = ["TEMPLATES", "KnownModel", "Template"]
