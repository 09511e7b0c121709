"""Checks of this machine: settings, disks and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shared.core.machine import GIB, disk_spaces, exposed_files
from shared.core.settings import Settings, setting_problems, unknown_variables
from shared.doctor.runner import Check, CheckFailed
from shared.startup import setting_warnings


def check_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> tuple[Check, Settings | None]:
    """Return the result of the check `settings`, and the settings if they are valid. The other checks need them."""
    problems = setting_problems(environ, dotenv)
    if problems:
        return Check("settings", False, " ".join([*problems, "The other checks need valid settings."])), None
    settings = Settings.load(environ, dotenv)
    unknown = unknown_variables(environ, dotenv)
    if unknown:
        return Check("settings", False, " ".join(unknown)), settings
    return Check("settings", True, " ".join(setting_warnings(settings))), settings


def check_disk(settings: Settings) -> str:
    """Fail if a disk of the data folder, the media folder or the SQLite file is nearly full."""
    spaces = disk_spaces(settings)
    shown = [f"{space.free / GIB:.1f} GiB ({space.percent_free:.0f} %) free at {space.path}" for space in spaces]
    if any(space.is_low() for space in spaces):
        raise CheckFailed(f"The disk is nearly full: {', '.join(shown)}. Free space or enlarge the disk, before writes fail.")
    return ""


def check_files(settings: Settings) -> str:
    """Fail if other users of this machine can read secrets; in development only the key file counts."""
    exposed = exposed_files(settings)
    if not exposed:
        return ""
    names = " ".join(map(str, exposed))
    advice = f"Other users of this machine can read secrets or data. Run: chmod 600 {names}"
    if settings.production or any(path.parent == settings.data_dir and path.suffix != ".db" for path in exposed):
        raise CheckFailed(advice)
    return advice
