"""Create rows in the bound database through the same operations that an operator uses.

owner = build.account(credits=1_000)
row, secret = build.api_key(owner)
build.model("m-1", build.channel(upstream.url), input=200, output=800)

An edge that reads these rows needs the same SECRET_KEY, because channel secrets are encrypted with it.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

from shared.billing.rates import Rate
from shared.core.clock import now_ms
from shared.core.secrets import seal
from shared.models import Account, AIModel, ApiKey, CatalogVersion, Channel, ChannelModel
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.keys import KeyOptions, create_key
from shared.operations.prices import Rates, insert_price
from tests.servers.edge import SECRET_KEY

ORIGIN = Origin("test")
UPSTREAM_SECRET = "sk-upstream-secret"
_numbers = count(1)


def account(credits: int = 1_000_000, *, email: str | None = None) -> Account:
    """An account whose whole balance comes from one grant."""
    return create_account(email or f"account-{next(_numbers)}@example.com", credits, origin=ORIGIN)


def api_key(owner: Account, name: str = "test", *, parent: UUID | None = None, **options: Any) -> tuple[ApiKey, str]:
    """Returns the key's row and its secret; `options` are fields of `shared.operations.keys.KeyOptions`."""
    created = create_key(owner.id, name, KeyOptions(**options), parent=parent, origin=ORIGIN)
    return created.row, created.secret


def channel(
    base_url: str, *, name: str | None = None, secret: str = UPSTREAM_SECRET, dialect: str = "openai", **columns: Any
) -> Channel:
    made: Channel = Channel.create(
        name=name or f"channel-{next(_numbers)}",
        dialect=dialect,
        base_url=base_url,
        sealed_secret=seal(secret, SECRET_KEY),
        **columns,
    )
    raise_catalog_version()
    return made


def model(
    id: str,
    *channels: Channel,
    input: int = 100,
    output: int = 300,
    cached_input: int | None = None,
    cache_write: int | None = None,
    per_call: int = 0,
    minimum: int = 0,
    per_5_seconds: int | None = None,
    per_1k_characters: int | None = None,
    rates: tuple[Rate, ...] = (),
    upstream_model: str = "acme-model",
    costs: tuple[int, int] | tuple[None, None] = (None, None),
    **columns: Any,
) -> AIModel:
    """A model with one price (credits per 1,000 tokens, or per call), served by `channels` in this order of preference.

    `costs` are the channels' cost prices for input and output.
    """
    made: AIModel = AIModel.create(id=id, **columns)
    for priority, serving in enumerate(channels):
        ChannelModel.create(
            channel=serving,
            model=made,
            upstream_model=upstream_model,
            priority=priority,
            cost_per_1k_input=costs[0],
            cost_per_1k_output=costs[1],
        )
    price = Rates(input, output, cached_input, per_call, minimum, per_5_seconds, per_1k_characters, cache_write, rates)
    insert_price(id, price, now_ms())
    raise_catalog_version()
    return made


def raise_catalog_version() -> None:
    """Make running edges reload the catalog."""
    CatalogVersion.update(version=CatalogVersion.version + 1).execute()
