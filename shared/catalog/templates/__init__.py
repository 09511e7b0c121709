"""Channel templates: base URLs, settings and models of known providers, as data. Pure."""

from shared.catalog.templates.known_models import KnownModel
from shared.catalog.templates.no_log import no_log_warning, with_no_log_signals
from shared.catalog.templates.providers import TEMPLATES, ChannelTemplate

__all__ = ["TEMPLATES", "ChannelTemplate", "KnownModel", "no_log_warning", "with_no_log_signals"]
