"""Sign-ins of staff, in the trail."""

from __future__ import annotations

from shared.clock import now_ms
from shared.database import transaction
from shared.models import StaffUser
from shared.operations.audit import Origin, record


def record_sign_in(person: StaffUser, *, address: str = "") -> None:
    """Remember that this person proved who they are, from `address`, just now."""
    person.last_sign_in_at = now_ms()
    with transaction():
        person.save(only=[StaffUser.last_sign_in_at])
        record(Origin(person.email, address), "staff.sign_in", person.id)
