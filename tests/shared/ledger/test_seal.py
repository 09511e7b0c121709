"""Seals cover every entry, prove single ones, and outlive a purge; a dump is checked without the database."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee
import pytest
from obstore.store import LocalStore

from shared import ledger
from shared.core import signing
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.files.storage import Storage
from shared.ledger import seal
from shared.ledger.compaction import compact_ledger
from shared.ledger.dump import write_dump
from shared.ledger.dump_check import DumpCheck
from shared.ledger.merkle import leaf_hash, path_of, root_from, root_of
from shared.ledger.receipt_proof import check_receipt
from shared.models import Account, LedgerEntry, LedgerLeaf, PurgeJob
from shared.operations.prices import Rates
from shared.operations.proof_accounts import ProofModel, create_proof_account, remove_proof_account
from tests.databases import allow_tampering
from tests.factories import ORIGIN
from tests.servers.process import ROOT
from tests.shared.ledger.test_witness import head_of, whole
from tests.workers.holds import HOUR_MS, Customer
from yout.json_file import read_json

SECRET = "0123456789abcdef" * 2
MODELS = {"chat": ProofModel("chat", Rates(input=1))}


def seal_now() -> dict[str, Any]:
    return seal.seal_ledger(now_ms(), SECRET, "https://edge.example")


def dump(secret_key: str = SECRET) -> bytes:
    file = io.BytesIO()
    write_dump(file, now_ms(), secret_key)
    return file.getvalue()


def run_program(folder: Path, data: bytes) -> str:
    """Check a dump with the program in the documents. Returns what it printed."""
    [program] = re.findall(r"```python\n(.*?)^```", (ROOT / "docs" / "ledger.md").read_text(), re.DOTALL | re.MULTILINE)
    (folder / "check.py").write_text(program)
    (folder / "dump").write_bytes(data)
    (folder / "heads").write_text(json.dumps(seal.published(seal.read_documents(), seal.public_keys(SECRET))))
    command = [sys.executable, "-I", "check.py", "dump", "heads"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else done.stderr


def check(data: bytes, heads: dict[str, Any] | None = None) -> list[str]:
    return list(DumpCheck(heads).run(io.BytesIO(data)))


@pytest.fixture
def customers(bound_database: peewee.Database) -> list[Customer]:
    """Two customers with a call each; the first has an open hold."""
    found = [Customer(1_000), Customer(500)]
    for customer in found:
        [call] = customer.hold(lasts_ms=HOUR_MS)
        customer.settle(call, 10, request_sha256=bytes(range(32)))
    found[0].hold(lasts_ms=HOUR_MS)
    return found


@pytest.mark.parametrize("size", range(1, 12))
def test_every_path_leads_to_the_root(size: int) -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    for index, leaf in enumerate(leaves):
        path = path_of(leaves, index)
        assert root_from(leaf, path) == root_of(leaves)
        assert root_from(leaf_hash(b"other"), path) != root_of(leaves)


def test_the_rfc_s_trees() -> None:
    """RFC 6962 has no vectors; these are of its reference implementation (certificate-transparency, merkletree tests)."""
    leaves = [leaf_hash(bytes.fromhex(data)) for data in ("", "00", "10", "2021", "3031", "40414243")]
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root_of(leaves).hex() == "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"


def test_seals_are_numbered_chained_and_cover_new_entries_only(
    customers: list[Customer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "PAGE", 1)
    first = seal_now()
    with transaction():
        ledger.post_entry(customers[0].account, "grant", 5, actor="test", reason="")
    second = seal_now()
    assert (first["head"]["number"], first["head"]["leaves"], first["head"]["previous"]) == (1, 2, None)
    assert (second["head"]["number"], second["head"]["leaves"]) == (2, 1)
    assert second["head"]["previous"] == seal.statement_hash(first["head"])
    key = signing.public_key(SECRET, signing.LEDGER_HEADS)
    assert signing.is_valid(second["head"], second["signature"], key)
    assert [leaf.first_seq for leaf in LedgerLeaf.select().order_by(LedgerLeaf.seal, LedgerLeaf.position)] == [1, 1, 3]
    assert [document for document, _ in seal.read_documents()] == [first, second]


def test_an_entry_is_proved(customers: list[Customer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "CHUNK", 1)
    monkeypatch.setattr(seal, "MAX_ENTRIES", 1)
    entries = list(LedgerEntry.select())
    assert seal.find_inclusion(customers[0].account, 1, whole(entries[0].entry_hash)) is None
    document = seal_now()
    for entry in entries:
        proof = seal.find_inclusion(entry.account.id, entry.seq, whole(entry.entry_hash))
        assert proof is not None
        assert root_from(leaf_hash(whole(entry.entry_hash)), proof.entries_path) == proof.leaf.root
        assert root_from(proof.leaf.hash, proof.leaves_path).hex() == proof.document["head"]["root"]
        assert proof.document == document


def test_a_dump_is_whole_before_and_after_a_purge(customers: list[Customer]) -> None:
    seal_now()
    heads = seal.published(seal.read_documents(), seal.public_keys(SECRET))
    assert check(dump(), heads) == []
    account = customers[1].account
    head = head_of(customers[1])
    PurgeJob.create(account=account, boundary=0)
    with transaction():
        compact_ledger(account, now_ms(), SECRET)
    data = dump()
    found = DumpCheck(heads)
    assert list(found.run(data.splitlines(keepends=True))) == []
    [folded] = found.folded
    assert folded.startswith(f"account {account}: a purge replaced entries up to its sealed head, entry ")
    assert folded.endswith(" in seal 1")
    assert head.hex().encode() in data
    seal_now()
    assert check(dump(), seal.published(seal.read_documents(), seal.public_keys(SECRET))) == []


def rewritten(data: bytes, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> bytes:
    """A dump with other documents, and the last line that belongs to them."""
    documents = change([json.loads(line) for line in data.splitlines()[:-1]])
    lines = b"".join(json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents)
    end = {"end": {"lines": len(documents), "sha256": hashlib.sha256(lines).hexdigest()}}
    return lines + json.dumps(end).encode() + b"\n"


def without_last_seal(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max(document["seal"]["head"]["number"] for document in documents if "seal" in document)
    place = next(n for n, document in enumerate(documents) if "seal" in document and document["seal"]["head"]["number"] == last)
    return [document for document in documents[:place] if document.get("leaf", {}).get("seal") != last]


def test_a_dump_without_the_newest_seals(customers: list[Customer], tmp_path: Path) -> None:
    """It is valid as an older one, but contradicts heads that were published before it claims to be made."""

    def said(data: bytes, last: int) -> tuple[list[str], list[str]]:
        found = DumpCheck(seal.published(seal.read_documents()[:last], seal.public_keys(SECRET)))
        return list(found.run(io.BytesIO(data))), found.notes

    now = now_ms()
    for hours in (30, 20, 2):
        seal.seal_ledger(now - hours * HOUR_MS, SECRET, "https://edge.example")
        with transaction():
            ledger.post_entry(customers[0].account, "grant", 5, actor="test", reason="")
    whole_dump = dump()
    assert said(whole_dump, 3) == ([], [])
    older_heads = "the heads have seals up to 2, so later ones of the dump were not compared: get the heads again"
    assert said(whole_dump, 2) == ([], [older_heads])
    cut = rewritten(whole_dump, without_last_seal)
    problem = "seal 3: published before the dump was made, but not in it"
    older_dump = "the heads have seals up to 3, the dump up to 2: it is older"
    assert said(cut, 3) == ([problem], [older_dump])
    assert problem in run_program(tmp_path, cut)
    assert said(cut, 2) == ([], [])
    _, [note] = said(rewritten(cut, without_last_seal), 1)
    assert "has seal 1 of" in note
    assert note.endswith("although seals are daily: later ones may have been removed")


def test_a_dump_that_claims_to_be_older(customers: list[Customer], tmp_path: Path) -> None:
    def made_earlier(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        documents[0]["ledger"]["created_at"] -= 2 * HOUR_MS
        return documents

    data = rewritten(dump(), made_earlier)
    assert check(data)[0].endswith("entry 1: dated after the dump was made")
    assert "entry 1: dated after the dump was made" in run_program(tmp_path, data)
    seal_now()
    data = rewritten(dump(), made_earlier)
    assert "seal 1: made after the dump" in check(data)


@pytest.mark.parametrize("number", ["1", 2**70, None])
def test_a_receipt_with_impossible_numbers_is_malformed(number: object) -> None:
    usage = ["m", None, "completed", 0, 0, 0, 0, 0, False, None, 1, 0, 0, 0, None]
    amounts = {"seq": number, "amount": -1, "balance_after": 1, "plan_amount": 0, "created_at": 1}
    ids = {"account": str(UUID(int=1)), "call": str(UUID(int=2)), "kind": "charge", "usage": usage, "salt": None}
    entry = {**amounts, **ids, "commitment": "00" * 32, "hash": ""}
    said = {"model": "m", "status": "completed", "credits_charged": 1, "of_it_overage": 0, "not_charged": 0, "price": None}
    receipt = {**said, "request_id": UUID(int=2).hex, "request_sha256": None, "tokens": {}, "steps": [], "entry_hash": ""}
    with pytest.raises(InvalidInput, match="Not a receipt"):
        check_receipt({**receipt, "proof": {"entry": entry, "previous": "00" * 32, "seal": None}})


def test_two_workers_add_a_new_account_once(customers: list[Customer], monkeypatch: pytest.MonkeyPatch) -> None:
    read = seal._read_accounts
    ran: list[bool] = []

    def overtaken(after: UUID) -> list[tuple[Any, ...]]:
        """Another worker adds the page after this one has read it."""
        accounts = read(after)
        if accounts and not ran:
            ran.append(seal._add_leaves(1, accounts))
        return accounts

    monkeypatch.setattr(seal, "_read_accounts", overtaken)
    assert seal_now()["head"]["leaves"] == len(customers)
    assert ran == [True]


def test_a_sealed_account_of_a_proof_stays(customers: list[Customer], tmp_path: Path) -> None:
    """A seal covers its leaf for good."""
    sealed, fresh = [create_proof_account("http://127.0.0.1:9", 500, MODELS, SECRET, origin=ORIGIN) for _ in range(2)]
    PurgeJob.create(account=fresh.id, boundary=0)
    with transaction():
        ledger.post_entry(fresh.id, "adjustment", -500, actor="test", reason="")
        compact_ledger(fresh.id, now_ms(), SECRET)
    PurgeJob.update(status="done").execute()
    seal_now()
    for made in (sealed, fresh):
        remove_proof_account(made.id, Storage(LocalStore(tmp_path)), SECRET, origin=ORIGIN)
    assert Account.get_or_none(Account.id == fresh.id) is None
    assert Account.get_by_id(sealed.id).status == "closed"
    assert check(dump(), seal.published(seal.read_documents(), seal.public_keys(SECRET))) == []


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_every_flipped_byte_of_a_dump_is_found(customers: list[Customer]) -> None:
    seal_now()
    data = dump()
    lines = data.splitlines(keepends=True)
    position = 0
    for line in lines:
        entry = json.loads(line).get("entry")
        for offset in range(0, len(line)):
            changed = bytearray(data)
            changed[position + offset] ^= 1
            problem = next(DumpCheck().run(io.BytesIO(bytes(changed))), None)
            assert problem is not None, (position + offset, line)
            if entry is not None and line[offset : offset + 1].isalnum():
                assert "line" in problem or entry["account"][1:-1] in problem, problem
        position += len(line)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE ledger_entry SET amount = 7, balance_after = 7 WHERE seq = 1", "entry 1: its hash does not follow"),
        ("UPDATE account SET held = 0", "held is 0, but its rows add up to 100"),
        ("DELETE FROM ledger_leaf WHERE position = 1", "its leaves do not lead to its root"),
        ("UPDATE ledger_seal SET document = replace(document, 'edge.example', 'edge.exampl3')", "its signature is invalid"),
    ],
)
def test_damage_is_found_in_a_dump(bound_database: peewee.Database, customers: list[Customer], damage: str, problem: str) -> None:
    seal_now()
    allow_tampering(bound_database)
    bound_database.execute_sql(damage)
    assert any(problem in line for line in check(dump()))


def test_a_rewritten_history_contradicts_its_seal(bound_database: peewee.Database, customers: list[Customer]) -> None:
    """All hashes of an account are recomputed, so its chain is valid."""
    seal_now()
    allow_tampering(bound_database)
    account = customers[1].account
    LedgerEntry.delete().where(LedgerEntry.account == account).execute()
    bound_database.execute_sql("UPDATE account SET balance = 0, ledger_seq = 0, ledger_head = NULL WHERE balance < 600")
    with transaction():
        ledger.post_entry(account, "grant", 490, actor="test", reason="forged")
        ledger.post_entry(account, "grant", 1, actor="test", reason="forged")
    assert check(dump()) == [f"account {account}, entries 1 to 2: not those in seal 1"]


def test_the_program_in_the_documents(customers: list[Customer], tmp_path: Path) -> None:
    """It needs nothing of Yout, and comes to the same results."""

    def run(data: bytes) -> str:
        return run_program(tmp_path, data)

    seal_now()
    account = customers[1].account
    PurgeJob.create(account=account, boundary=0)
    with transaction():
        compact_ledger(account, now_ms(), SECRET)
    seal_now()
    data = dump()
    assert run(data) == "2 accounts and 2 seals: everything adds up.\n"
    assert "entry 2: other details" in run(data.replace(b'"edge"', b'"edgy"'))
    assert "does not follow" in run(data.replace(b'"amount":-10', b'"amount":-11'))
    assert "entry 1: its hash does not follow" in run(data.replace(b'"plan_amount":0', b'"plan_amount":1', 1))


def test_thousands_of_nested_brackets_are_malformed(tmp_path: Path) -> None:
    nested = b"[" * 100_000
    assert check(nested + b"\n") == ["line 1 is malformed"]
    (tmp_path / "nested").write_bytes(nested)
    with pytest.raises(InvalidInput, match="is not JSON"):
        read_json(tmp_path / "nested")
