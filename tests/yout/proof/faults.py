"""Edges and workers with a planted fault: `sitecustomize.py`, which Python runs first, replaces a function of the product."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.process import ROOT

# Each patches one function. The guard or scrubber in question is the only thing taken out.
MONEY = {
    "the funds are not checked, and nothing is held": """
import shared.ledger.reserve as reserve
write = reserve._write
everything = reserve.Funds(10**12, 10**12, 10**12)
reserve._pool_funds = lambda quote, pool, overage: everything
reserve._write = lambda granted, now: write(
    [one._replace(reserved=one.reserved._replace(amount=0)) for one in granted], now)
""",
    "every call is charged twice": """
import shared.ledger.settle as settle
charge = settle._charge
settle._charge = lambda item, pool, hold: charge(item._replace(cost=2 * item.cost), pool, hold)
""",
    "no call is charged": """
import shared.ledger.settle as settle
charge = settle._charge
settle._charge = lambda item, pool, hold: charge(item._replace(cost=0), pool, hold)
""",
    "settled holds are not released": """
import shared.ledger.settle as settle
after = settle._after
settle._after = lambda pool, released, credits: after(pool, 0, credits)
""",
}


def plant(folder: Path, code: str, *modules: str) -> dict[str, str]:
    """Write the fault for processes that run `python -m` one of `modules`. Returns the variable that makes them use it."""
    folder.mkdir()
    lines = ["import sys", f"if {{*sys.orig_argv}} & {set(modules)!r}:", *(f"    {line}" for line in code.strip().splitlines())]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
