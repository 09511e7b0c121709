"""Channel templates: base URLs, settings and models of known providers, as data. Pure."""

from shared.channel_templates.known_models import KnownModel
from shared.channel_templates.vendors import TEMPLATES, Template

__all__ = ["TEMPLATES", "KnownModel", "Template"]
