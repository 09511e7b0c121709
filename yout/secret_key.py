"""Generates the installation's secret key if none is set."""

from __future__ import annotations

import secrets

from shared.core.settings import DEVELOPMENT_SECRET, SECRET_KEY_FILE, Settings
from yout.data_folder import create_private_folder, write_private_file


def ensure_secret_key(settings: Settings) -> Settings:
    """Create `secret.key` in the data folder if SECRET_KEY is not set. Returns the settings, reloaded if it was created.

    It must exist before the first channel secret is encrypted, so both `yout migrate` and `yout up` call this.
    """
    path = settings.data_dir / SECRET_KEY_FILE
    if settings.secret_key != DEVELOPMENT_SECRET or path.exists():
        return settings
    create_private_folder(settings.data_dir)
    write_private_file(path, secrets.token_hex(32) + "\n")
    return Settings.load()
