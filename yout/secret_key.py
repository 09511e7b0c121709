"""The installation's own secret, made once where none was set."""

from __future__ import annotations

import secrets

from shared.core.settings import DEVELOPMENT_SECRET, SECRET_KEY_FILE, Settings
from yout.data_folder import make_private, write_private


def ensure_secret_key(settings: Settings) -> Settings:
    """Make `secret.key` in the data folder if SECRET_KEY is not set, and give the settings that count from then on.

    It must be there before the first channel secret is sealed, which is why `yout migrate` makes it as well as `yout up`.
    """
    path = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key != DEVELOPMENT_SECRET or path.exists():
        return settings
    make_private(settings.data_dir)
    write_private(path, secrets.token_hex(32) + "\n")
    return Settings.load()
