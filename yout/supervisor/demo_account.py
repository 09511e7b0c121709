"""Demo data for development: a staff member, an account with credits, and an API key.

The password and the key's secret cannot be read from the database again. They are kept in `welcome.json` in the data folder,
readable by its owner only, so that every start can print them again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from shared.catalog.reader import load_catalog
from shared.core.clock import now_ms
from shared.identity.api_key_format import digest
from shared.models import Account, ApiKey, StaffUser
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.keys import create_key
from shared.operations.staff import create_staff, verify_password
from yout.data_folder import write_private_file

FILE = "welcome.json"
ORIGIN = Origin("yout up")
STAFF_EMAIL = "staff@localhost.localdomain"
ACCOUNT_EMAIL = "demo@localhost.localdomain"
OPENING_CREDITS = 15_000_000


@dataclass(frozen=True, slots=True)
class DemoCredentials:
    """The values to print. `staff_password` is None if it was changed; `model` is None if no model is available."""

    staff_email: str
    staff_password: str | None
    account_email: str
    credits: int
    key: str
    model: str | None


def ensure_demo_account(data_dir: Path) -> DemoCredentials:
    """Create what is missing in the bound database, and store the secrets."""
    path = data_dir / FILE
    kept = _read(path)
    account = _account()
    password, key = _staff_password(kept.get("staff_password")), _key(account, kept.get("key"))
    secrets = {"staff_password": password, "key": key}
    if secrets != kept:
        write_private_file(path, json.dumps(secrets, indent=2) + "\n")
    return DemoCredentials(
        staff_email=STAFF_EMAIL,
        staff_password=password,
        account_email=ACCOUNT_EMAIL,
        credits=account.balance - account.held,
        key=key,
        model=_model(),
    )


def _read(path: Path) -> dict[str, str | None]:
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # a damaged file counts as missing: a new key is created
        return {}
    return kept if isinstance(kept, dict) else {}


def _account() -> Account:
    account = Account.get_or_none(Account.email == ACCOUNT_EMAIL)
    return account or create_account(ACCOUNT_EMAIL, OPENING_CREDITS, name="Demonstration", origin=ORIGIN)


def _staff_password(kept: str | None) -> str | None:
    if StaffUser.get_or_none(StaffUser.email == STAFF_EMAIL) is None:
        return create_staff(STAFF_EMAIL, origin=ORIGIN)[1]
    return kept if kept and verify_password(STAFF_EMAIL, kept) else None


def _key(account: Account, kept: str | None) -> str:
    if kept:
        row = ApiKey.get_or_none(ApiKey.digest == digest(kept))
        if row is not None and row.revoked_at is None and (row.expires_at is None or row.expires_at > now_ms()):
            return kept
    return create_key(account.id, "welcome", origin=ORIGIN).secret


def _model() -> str | None:
    """Return the local chat model if it is available, else the oldest available chat model."""
    from shared.operations.seed import CHAT_MODEL

    now = now_ms()
    models = [model for model in load_catalog().models.values() if model.kind == "chat" and model.routes and model.is_usable(now)]
    names = [model.id for model in sorted(models, key=lambda model: (model.created_at, model.id))]
    return CHAT_MODEL if CHAT_MODEL in names else next(iter(names), None)
