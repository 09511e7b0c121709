"""`python -m embedded --host 127.0.0.1 --port P [--api-key K]`: run the embedded provider until SIGTERM."""

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from embedded.app import create_app
from embedded.model_file import default_cache_folder
from embedded.smollm import SmolLM

log = logging.getLogger("embedded")

SHUTDOWN_SECONDS = 0.5
"""How long answers in progress may continue after SIGTERM before they are cut off."""


def main() -> int:
    """Serve until SIGTERM. Returns 0 after a clean stop, 1 if the address is in use."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        log.error("cannot listen on %s port %d: %s", options.host, options.port, error.strerror or error)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded", description="The embedded OpenAI-compatible provider.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on (0: any free port)")
    parser.add_argument(
        "--api-key", default=os.environ.get("YOUT_LOCAL_API_KEY"), help="require this API key (or set YOUT_LOCAL_API_KEY)"
    )
    parser.add_argument(
        "--slots", type=int, default=2, help="concurrent generations (default: %(default)s); each uses about 95 MB"
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=default_cache_folder(), help="where to cache the model file's checksum result"
    )
    options = parser.parse_args()
    if not 1 <= options.slots <= 16:
        parser.error("--slots must be between 1 and 16")
    if not options.api_key and not _is_loopback(options.host):
        parser.error("--api-key is required unless --host is a loopback address")
    return options


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _serve(options: argparse.Namespace) -> None:
    smollm = SmolLM(options.slots, options.cache_dir)
    enabled = os.environ.get("YOUT_LOCAL_MODEL", "on").lower() != "off"
    if not enabled:
        smollm.disable("YOUT_LOCAL_MODEL=off")
    app = create_app(smollm, options.api_key or None, load_model=enabled)
    # handler_cancellation: when a client disconnects, its handler is cancelled, and with it the generation.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        log.info("listening on http://%s:%d", options.host, runner.addresses[0][1])
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
