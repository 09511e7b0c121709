"""Signed reports: anybody can verify them, and any change invalidates them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.core import signing
from shared.core.settings import Settings
from shared.operations.proof_reports import sign_report, store_report
from tests.servers.edge import SECRET_KEY
from tests.yout.command import Installation


@pytest.fixture
def report(make_settings: Callable[..., Settings]) -> dict[str, Any]:
    result = {"calls": 3, "overdraft": 0, "lost": 0, "doubled": 0, "surfaces": {"chat": {"completed": 3}}}
    return sign_report("prove-cap", 1_800_000_000_000, 1_800_000_060_000, result, make_settings())


def test_the_command_verifies_a_report(tmp_path: Path, report: dict[str, Any], make_settings: Callable[..., Settings]) -> None:
    name = store_report("prove-cap", report, make_settings())
    stored = str(tmp_path / "var" / "media" / name)
    own, other = (Installation(tmp_path, SECRET_KEY=key) for key in (SECRET_KEY, SECRET_KEY[::-1]))
    (tmp_path / "key.pem").write_bytes(signing.public_pem(signing.public_key(SECRET_KEY, signing.PROOF_REPORT)))
    done = own.yout("report", "verify", stored, "--json")
    assert (done.code, done.data) == (0, {"id": "yout-prove-cap", "valid": True, "report": report}), done.err
    assert other.yout("report", "verify", stored).code == 2
    assert other.yout("report", "verify", stored, "--key", "key.pem").code == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lost": 1}, "signature is invalid"),
        ({"more": 1}, "signature is invalid"),
        ({"signature": "AAAA"}, "signature is invalid"),
        ({"key_id": "0" * 16}, "was signed with the key '0000000000000000'"),
        ({"id": "other"}, "Not a report"),
    ],
)
def test_a_changed_report_is_rejected(tmp_path: Path, report: dict[str, Any], change: dict[str, Any], says: str) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report | change))
    done = Installation(tmp_path, SECRET_KEY=SECRET_KEY).yout("report", "verify", "report.json")
    assert (done.code, says in done.err) == (2, True), done.err
