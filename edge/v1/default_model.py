"""The default model of a call without `model`: the only one that its key may use."""

from __future__ import annotations

from edge.call.admission import Caller
from edge.services import Services
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest


async def default_model(services: Services, caller: Caller, *kinds: str) -> str:
    """Return the id of the key's only model of a kind: the first of `kinds` of which the key may use any model.

    Raises `InvalidRequest` if the key may use no such model, or several. Raises the errors of `Keys.look_up`.
    """
    key = await services.keys.look_up(caller.payer.digest)
    now = now_ms()
    for kind in kinds:
        found = sorted(m.id for m in services.catalog.listed.values() if m.kind == kind and key.may_use(m, now))
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidRequest(f"Set 'model' to one of: {', '.join(found)}.", "model")
    raise InvalidRequest(f"No {' or '.join(kinds)} model is available to this API key.", "model")
