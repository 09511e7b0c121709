"""The availability of an optional model, and the thread that runs it."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from embedded.catalog import CatalogEntry
from embedded.errors import ApiError
from embedded.model_file import ModelUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class ModelLoader:
    """A model whose packages are loaded on first use, so that an idle server stays small.

    Its own thread runs one call at a time. The event loop stays responsive, and the model uses at most one core
    however many requests arrive.
    """

    def __init__(self, entry: CatalogEntry, enabled: bool) -> None:
        self.entry = entry
        missing = [package for package in entry.packages if find_spec(package) is None]
        if not enabled:
            self.state = "off: YOUT_LOCAL_MODEL=off"
        elif missing:
            self.state = f"off: {', '.join(missing)} cannot be imported; run bin/setup"
        else:
            self.state = "ready"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=entry.id)

    @property
    def is_available(self) -> bool:
        return self.state == "ready"

    def require_available(self) -> None:
        """Raise ApiError 503 if the model is off."""
        if not self.is_available:
            raise self._unavailable()

    def _unavailable(self) -> ApiError:
        return ApiError(503, f"The model {self.entry.id} is {self.state}.", type="server_error", code="model_not_available")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the model's thread, in order of arrival. If cancelled while queued, it never starts.

        If the model cannot be loaded, it is turned off: this call and all later ones raise ApiError 503.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        try:
            return await future
        except (ImportError, ModelUnavailable) as error:
            self.state = f"off: {error}"
            log.warning("%s is %s", self.entry.id, self.state)
            raise self._unavailable() from error

    def close(self) -> None:
        """Start no more work; running work finishes."""
        self._thread.shutdown(wait=False, cancel_futures=True)
