"""The default model of a call whose body has none: the only one that its key may use."""

from __future__ import annotations

from edge.call.admission import Caller
from edge.services import Services
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest


async def default_model(services: Services, caller: Caller, *kinds: str) -> str:
    """Return the only model of the first of `kinds` that the key may use any model of.

    Raises `InvalidRequest` if there is none or more than one, and the errors of `Keys.look_up`.
    """
    key = await services.keys.look_up(caller.payer.digest)
    now = now_ms()
    for kind in kinds:
        found = sorted(m.id for m in services.catalog.models.values() if m.kind == kind and key.may_use(m, now))
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidRequest(f"Set 'model' to one of: {', '.join(found)}.", "model")
    raise InvalidRequest(f"No {' or '.join(kinds)} model is available to this API key.", "model")
