"""Patches Hypercorn to use the fast connection, if the installed version is supported."""

import inspect
import logging
from importlib import metadata
from types import CodeType

import hypercorn.asyncio.run as hypercorn_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext

from .bounded_hypercorn import BoundedTCPServer
from .limits import Limits
from .selfcheck import SelfCheckError, check_round_trip
from .server import FastTCPServer
from .worker import FastWorkerContext

_log = logging.getLogger(__name__)

SUPPORTED_VERSION = "0.18"
_SERVER_PARAMETERS = ["self", "app", "loop", "config", "context", "state", "reader", "writer"]


def install(enabled: bool = True, limits: Limits | None = None) -> bool:
    """Make workers that start from now on use the fast HTTP/1.1 connection. Return whether they will.

    Call it once per process, before ``hypercorn.run`` or ``serve``; with several workers, in the module that each worker
    imports. ``enabled=False`` keeps Hypercorn's own connection, with the same timeouts and connection limit. With an unsupported
    version of Hypercorn it logs a warning and changes nothing; if the self-check fails, the effect is that of ``enabled=False``.
    Never raises.
    """
    _restore()
    BoundedTCPServer.limits = limits or Limits()
    try:
        _check_hypercorn()
        vars(hypercorn_run).update(TCPServer=BoundedTCPServer)
        if not enabled:
            return False
        check_round_trip()
    except SelfCheckError as error:
        _log.warning("The fast HTTP connection is disabled; using Hypercorn's own, which is slower: %s", error)
        return False
    vars(hypercorn_run).update(TCPServer=FastTCPServer, WorkerContext=FastWorkerContext)
    return True


def _restore() -> None:
    vars(hypercorn_run).update(TCPServer=TCPServer, WorkerContext=WorkerContext)


def _check_hypercorn() -> None:
    version = metadata.version("hypercorn")
    if version.split(".")[:2] != SUPPORTED_VERSION.split("."):
        raise SelfCheckError(f"the fast connection supports Hypercorn {SUPPORTED_VERSION}.x, but {version} is installed")
    parameters = list(inspect.signature(TCPServer.__init__).parameters)
    if parameters != _SERVER_PARAMETERS:
        raise SelfCheckError(f"Hypercorn's TCPServer takes {parameters}, not {_SERVER_PARAMETERS}")
    used = set(hypercorn_run.worker_serve.__code__.co_names) | {
        name
        for constant in hypercorn_run.worker_serve.__code__.co_consts
        if isinstance(constant, CodeType)
        for name in constant.co_names
    }
    missing = {"TCPServer", "WorkerContext"} - used
    if missing:
        raise SelfCheckError(f"Hypercorn's worker_serve no longer uses {sorted(missing)}")
