"""Whether a model can be served here, and the thread that its work is done in."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from embedded.catalog import CatalogueEntry
from embedded.errors import ApiError
from embedded.model_file import ModelUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Offer:
    """One model whose packages are loaded at its first use, so that an idle server stays small.

    Its work is done one piece at a time, in a thread of its own: the event loop stays free, and however many ask, no more
    than one processor is kept busy by it.
    """

    def __init__(self, entry: CatalogueEntry, wanted: bool) -> None:
        self.entry = entry
        missing = [package for package in entry.packages if find_spec(package) is None]
        if not wanted:
            self.state = "off: YOUT_LOCAL_MODEL=off"
        elif missing:
            self.state = f"off: {', '.join(missing)} cannot be imported; run bin/setup"
        else:
            self.state = "ready"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=entry.id)

    @property
    def served(self) -> bool:
        return self.state == "ready"

    def require(self) -> None:
        """Raises ApiError 503 when the model is off."""
        if not self.served:
            raise self._refusal()

    def _refusal(self) -> ApiError:
        return ApiError(503, f"The model {self.entry.id} is {self.state}.", type="server_error", code="model_not_available")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in the model's thread, after what came before. Cancelled while it waits, it is never begun.

        What cannot be loaded turns the model off: ApiError 503, now and from now on.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        try:
            return await future
        except (ImportError, ModelUnavailable) as error:
            self.state = f"off: {error}"
            log.warning("%s is %s", self.entry.id, self.state)
            raise self._refusal() from error

    def close(self) -> None:
        """Begin nothing more; what runs is left to end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
