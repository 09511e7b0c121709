"""Checks of an installation, for `yout doctor`: what is wrong and what to do about it.

`runner.py` runs the checks in parallel, each with a deadline. `database.py`, `servers.py` and `local.py` have the checks.
"""

from shared.doctor.checks import NEEDS, checks_of
from shared.doctor.runner import Check, CheckFailed, run_checks

__all__ = ["NEEDS", "Check", "CheckFailed", "checks_of", "run_checks"]
