"""Channel templates: base URLs, settings and models of known providers, as data. Pure."""

from shared.catalog.templates.known_models import KnownModel
from shared.catalog.templates.providers import TEMPLATES, ChannelTemplate

__all__ = ["TEMPLATES", "ChannelTemplate", "KnownModel"]
