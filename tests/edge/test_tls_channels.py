"""An edge reads the certificate authorities before the first call if a channel needs TLS, and otherwise not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge.services import Services
from shared.core.settings import Settings
from tests import factories


@pytest.mark.parametrize(("url", "expected"), [("https://api.example.com/v1", True), ("http://127.0.0.1:9/v1", False)])
async def test_authorities_are_read_for_tls_channels(
    bound_database: Any,
    make_settings: Callable[..., Settings],
    any_database_url: str,
    redis_url: str,
    url: str,
    expected: bool,
) -> None:
    factories.model("m-1", factories.channel(url))
    services = await Services.start(make_settings(database_url=any_database_url, redis_url=redis_url))
    assert (services.http._tls._prepared is not None) is expected
    await services.close()
