"""`bench.chaos`, bounded: kills of every kind under load, and no credit is overdrawn, lost or doubled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers.process import ROOT, dies_with_parent


@pytest.mark.proofs
def test_a_short_run_accounts_for_every_credit() -> None:
    command = [sys.executable, "-m", "bench.chaos", "--kills", "15", "--per-run", "15", "--seed", "5"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YOUT_")}
    done = subprocess.run(
        dies_with_parent(command), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "15 kills: " in done.stdout
    assert done.stdout.splitlines()[2].endswith("| 0 | 0 | 0 |"), done.stdout
