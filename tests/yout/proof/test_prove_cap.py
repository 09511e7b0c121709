"""`yout prove-cap` on a running stack: clean on ours, and with faults on one whose guards were removed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from obstore.store import LocalStore

from shared.core import signing
from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.files.storage import Storage
from shared.models import Account
from shared.operations.audit import Origin
from shared.operations.proof_accounts import create_proof_account, leftover_proof_accounts, remove_proof_account
from shared.operations.proof_reports import verify_report
from tests.databases import opened
from tests.servers.edge import start_edge
from tests.servers.process import eventually
from tests.yout.command import Installation
from tests.yout.proof.conftest import SECRET_KEY
from tests.yout.proof.faults import MONEY, plant
from yout.proof.load import models

Rows = Callable[[], dict[str, int]]


def test_the_deployed_stack_is_proved_and_left_as_it_was(installation: Installation, rows: Rows) -> None:
    before = rows()
    done = installation.yout("prove-cap", "--calls", "40", "--seed", "1", "--json")
    report = done.data
    assert (done.code, report["overdraft"], report["lost"], report["doubled"]) == (0, 0, 0, 0), report
    assert report["calls"] >= 40
    assert 0 < report["charged"] <= report["granted"]
    assert {surface for surface, seen in report["surfaces"].items() if seen.get("completed")} >= {
        *("chat", "completions", "responses", "messages", "native", "embeddings")
    }
    assert rows() == before
    key = signing.public_key(SECRET_KEY, signing.PROOF_REPORT)
    assert verify_report(report, key) == report
    assert json.loads((installation.folder / "var/media/reports/prove-cap.json").read_text()) == report
    assert [path for path in (installation.folder / "var/media").rglob("*") if path.is_file()] == [
        installation.folder / "var/media/reports/prove-cap.json"
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--calls", "0"), "between 1 and"), (("--kill", "--edge", "http://127.0.0.1:1"), "own edges only")],
)
def test_invalid_options(installation: Installation, arguments: tuple[str, ...], says: str) -> None:
    done = installation.yout("prove-cap", *arguments)
    assert (done.code, says in done.err) == (2, True)


@pytest.mark.proofs
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("the funds are not checked, and nothing is held", "overdraft"),
        ("every call is charged twice", "doubled"),
        ("no call is charged", "lost"),
        ("settled holds are not released", "lost"),
    ],
)
def test_a_planted_fault_is_found(installation: Installation, fault: str, found: str) -> None:
    environ = {name: value for name, value in installation.environment.items() if name.startswith(("YOUT_", "REDIS", "SECRET"))}
    edge = start_edge(installation.folder, {**environ, **plant(installation.folder / "fault", MONEY[fault], "edge")})
    try:
        done = installation.yout("prove-cap", "--calls", "60", "--seed", "2", "--edge", edge.url, "--json")
    finally:
        edge.kill()
    assert (done.code, done.data[found] > 0) == (1, True), done.data
    assert any(problem.startswith(found) for problem in done.data["problems"]), done.data["problems"]


@pytest.mark.proofs
def test_killed_edges_lose_nothing(installation: Installation) -> None:
    done = installation.yout("prove-cap", "--calls", "150", "--seed", "3", "--kill", "--json")
    assert (done.code, done.data["problems"]) == (0, []), done.data
    assert done.data["kills"] > 0


@pytest.mark.proofs
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_proof_removes_its_account(installation: Installation, rows: Rows, number: signal.Signals) -> None:
    before = rows()
    running = subprocess.Popen(
        [sys.executable, "-m", "yout", "prove-cap", "--calls", "5000"],
        cwd=installation.folder,
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: rows()["ledger_entry"] > 5, "some calls are charged", 150)
        running.send_signal(number)
        output = running.communicate(timeout=60)[0]
    finally:
        running.kill()
    assert running.returncode == 130, output
    assert rows() == before


def test_leftovers_of_killed_proofs_are_removed(installation: Installation, rows: Rows) -> None:
    before = rows()
    with opened(f"sqlite:///{installation.folder}/var/yout.db") as database:
        bind_database(database)
        made = create_proof_account("http://127.0.0.1:9", 500, models(), SECRET_KEY, origin=Origin("test"))
        assert leftover_proof_accounts(now_ms()) == []
        Account.update(created_at=now_ms() - 2 * 3_600_000).execute()
        assert leftover_proof_accounts(now_ms()) == [made.id]
        storage = Storage(LocalStore(installation.folder / "var"))
        for _ in range(2):
            remove_proof_account(made.id, storage, SECRET_KEY, origin=Origin("test"))
    assert rows() == before
