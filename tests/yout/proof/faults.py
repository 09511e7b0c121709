"""Edges and workers with a planted fault: `sitecustomize.py`, which Python runs first, replaces a function of the product."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.process import ROOT

# Each patches one function. The guard or scrubber in question is the only thing removed.
MONEY = {
    "the funds are not checked, and nothing is held": """
reserve = import_module("shared.ledger.reserve")
write = reserve._write
everything = reserve.Funds(10**12, 10**12, 10**12)
reserve._pool_funds = lambda quote, pool, overage: everything
reserve._write = lambda granted, now: write(
    [one._replace(reserved=one.reserved._replace(amount=0), overage=0) for one in granted], now)
""",
    "every call is charged twice": """
settle, single_call = import_module("shared.ledger.settle"), import_module("shared.ledger.single_call")
charge = settle.charge
settle.charge = single_call.charge = lambda item, pool, hold: charge(item._replace(cost=2 * item.cost), pool, hold)
""",
    "no call is charged": """
settle, single_call = import_module("shared.ledger.settle"), import_module("shared.ledger.single_call")
charge = settle.charge
settle.charge = single_call.charge = lambda item, pool, hold: charge(item._replace(cost=0), pool, hold)
""",
    "settled holds are not released": """
settle = import_module("shared.ledger.settle")
after = settle._after
settle._after = lambda pool, released, credits: after(pool, 0, credits)
""",
}


# Leaks: the canary that must be found, and where. All are planted together, because each is found in another place.
_CAPTURE = """
import logging, os, base64, tempfile, zlib
import redis
identity = import_module("shared.dialects.identity")
identity.pseudonymize = lambda body, target: None
openai = import_module("shared.dialects.openai")
key_format = import_module("shared.identity.api_key_format")
ledger = import_module("shared.ledger")
json_body = import_module("edge.http.json_body")
log, last = logging.getLogger("yout.edge"), {"body": b"", "key": ""}
store = redis.Redis.from_url(os.environ["REDIS_URL"])
parse, digest, headers, settled = json_body.parse_json_object, key_format.digest, openai.request_headers, ledger.settle
"""
LEAKS = {
    "the prompt is logged": (("prompt", "logs of the edge and the worker"), 'log.warning("body %s", data.decode("latin-1"))'),
    "the prompt is stored in Redis, compressed": (
        ("prompt", "Redis"),
        'store.rpush("debug", base64.b64encode(zlib.compress(data)))',
    ),
    "the prompt is in a temporary file": (("prompt", "temporary files"), "tempfile.NamedTemporaryFile(delete=False).write(data)"),
    "the prompt is in the row of an error": (("prompt", "database: usage_ledger.error_code"), 'last["body"] = data'),
}


def leaking_code() -> str:
    """Code with all leaks of `LEAKS`, and with the caller's key, name of the browser and user passed to the provider."""
    steps = "\n".join(f"    {code}" for _, code in LEAKS.values())
    return f"""{_CAPTURE}
def leak(data):
{steps}
    return parse(data)

def remember(secret):
    last["key"] = secret
    return digest(secret)

def settle_with_body(items, now):
    return settled([item._replace(error_code=last["body"].decode("latin-1")) if item.error_code else item for item in items], now)

json_body.parse_json_object = leak
key_format.digest = remember
openai.request_headers = lambda target: (*headers(target), ("x-caller", last["key"]))
ledger.settle = settle_with_body
"""


def plant(folder: Path, code: str, *modules: str) -> dict[str, str]:
    """Write the fault for processes that run `python -m` one of `modules`. Returns the variable that makes them use it."""
    folder.mkdir()
    lines = [
        "import sys",
        "from importlib import import_module",
        f"if {{*sys.orig_argv}} & {set(modules)!r}:",
        *(f"    {line}" for line in code.strip().splitlines()),
    ]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
