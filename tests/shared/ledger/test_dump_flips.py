"""Any flipped bits of a dump are found offline, by the command and by the program in the documents."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared import ledger
from shared.billing.request_shape import request_shape
from shared.billing.token_usage import ExtraUsage, TokenUsage
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.ledger import retention, seal
from shared.ledger.compaction import compact_ledger, merge_oldest_entries
from shared.ledger.dump_check import DumpCheck
from shared.models import Account, LedgerEntry, PurgeJob
from tests.databases import allow_tampering
from tests.servers.process import ROOT
from tests.shared.ledger.test_seal import SECRET, dump, rewritten, seal_now
from tests.workers.holds import HOUR_MS, Customer

pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
UNPROVED = {  # values that only the SHA-256 in the last line proves, which whoever changes a dump can compute again
    *(("ledger", "created_at"), ("ledger", "keys")),  # heads that were given have the keys
    *(("leaf", "account"), ("seal", "public_key"), ("hold", "account"), ("hold", "call")),
}
DELETED = {"actor", "reason", "call", "usage", "salt", "commitment"}  # values that an entry without a salt no longer commits to


class Dump:
    """A dump, published heads, and both ways to check a dump."""

    def __init__(self, data: bytes, heads: dict[str, Any], folder: Path) -> None:
        self.data = data
        self.heads = heads
        self.places = [(n, offset) for n, line in enumerate(data.splitlines(keepends=True)) for offset in range(len(line))]
        self._folder = folder
        (folder / "heads").write_text(json.dumps(heads))

    def account_at(self, line: int) -> str:
        """The account whose lines a line is among."""
        documents = [json.loads(line) for line in self.data.splitlines()[: line + 1]]
        return str([document["account"]["id"] for document in documents if "account" in document][-1])

    def command(self, data: bytes) -> str:
        """The first problem that the command finds, or nothing."""
        return next(DumpCheck(self.heads).run(io.BytesIO(data)), "")

    def program(self, data: bytes) -> str:
        """How the program fails, or nothing. It runs in this process: to start another takes longer than the check."""
        (self._folder / "dump").write_bytes(data)
        before, sys.argv = sys.argv, ["check.py", str(self._folder / "dump"), str(self._folder / "heads")]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(documented_program(), {"__name__": "__main__"})
        except SystemExit as ended:
            return str(ended.code)
        except Exception as failed:  # as it would end the program with an error
            return f"malformed: {failed!r}"
        finally:
            sys.argv = before
        return ""


@cache
def documented_program() -> CodeType:
    [program] = re.findall(r"```python\n(.*?)^```", (ROOT / "docs" / "ledger.md").read_text(), re.DOTALL | re.MULTILINE)
    return compile(program, "check.py", "exec")


def call(customer: Customer, **columns: Any) -> Any:
    [id] = customer.hold(lasts_ms=HOUR_MS)
    customer.settle(id, 10, **columns)
    return id


@pytest.fixture
def everything(bound_database: peewee.Database, tmp_path: Path) -> Dump:
    """A dump with every kind of row, and every state of an account: purged, during a purge, of an older release."""
    old, purged, running, plain = (Customer(1_000) for _ in range(4))
    allow_tampering(bound_database)
    of_old = LedgerEntry.account == old.account
    LedgerEntry.update(entry_hash=None, commitment=None, salt=None).where(of_old).execute()
    Account.update(ledger_head=None).where(Account.id == old.account).execute()
    for customer in (old, purged, running):
        for _ in range(2):
            call(customer)
    with transaction():
        ledger.post_entry(plain.account, "grant", 30, actor="staff:ada", reason="welcome, Ädä", plan=True)
    shape = request_shape(("model", "messages"), ("Authorization",), ())
    call(
        plain,
        request_sha256=bytes(range(32)),
        request_shape=shape.id,
        usage=TokenUsage(7, 3, 2, 1, extra=ExtraUsage(audio_input_tokens=4)),
    )
    forgotten = call(plain)
    with transaction():
        retention.delete_calls(plain.account, [forgotten])
        ledger.post_entry(plain.account, "refund", 5, actor="staff:ada", reason="", call=None)
    plain.hold(lasts_ms=HOUR_MS)
    seal_now()
    for customer in (purged, running):
        PurgeJob.create(account=customer.account, boundary=0)
    with transaction():
        compact_ledger(purged.account, now_ms(), SECRET)
        merge_oldest_entries(running.account, now_ms(), SECRET, 2)
    for customer in (old, purged, running, plain):
        call(customer)
    seal_now()
    call(plain)
    return Dump(dump(), seal.published(seal.read_documents(), seal.public_keys(SECRET)), tmp_path)


def test_any_flipped_bits_are_found(everything: Dump) -> None:
    lines = everything.data.splitlines(keepends=True)
    kinds = {next(iter(json.loads(line))) for line in lines}
    assert kinds == {"ledger", "account", "leaf", "entry", "hold", "seal", "leaves", "end"}
    assert (everything.command(everything.data), everything.program(everything.data)) == ("", "")

    def check(place: tuple[int, int], mask: int) -> None:
        number, offset = place
        changed = bytearray(lines[number])
        changed[offset] ^= mask
        data = b"".join([*lines[:number], bytes(changed), *lines[number + 1 :]])
        found, printed = everything.command(data), everything.program(data)
        assert found, (lines[number], changed)
        assert printed, (lines[number], changed)

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(place=st.sampled_from(everything.places), mask=st.integers(1, 255))
    @example(place=everything.places[-1], mask=ord("\n") ^ ord(" "))
    @example(place=everything.places[-1], mask=ord("\n") ^ ord("\r"))
    def any_flip(place: tuple[int, int], mask: int) -> None:
        check(place, mask)

    any_flip()


def values_of(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in a document that is neither a list nor an object."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from values_of(value, (*path, key))
    else:
        yield path


def is_proved(document: dict[str, Any], path: tuple[Any, ...]) -> bool:
    kind, field = path[:2]
    if kind == "entry" and document[kind]["salt"] is None:
        return document[kind]["hash"] is not None and field not in DELETED
    return (kind, field) not in UNPROVED


def other(value: Any, place: int) -> Any:
    """Another value of the same type, or of a likely one for null."""
    if isinstance(value, str) and value:
        place %= len(value)
        return value[:place] + ("1" if value[place] == "0" else "0") + value[place + 1 :]
    return {bool: not value, int: place + 1 + value if isinstance(value, int) else 0, str: "0"}.get(type(value), "00" * 32)


def test_any_other_value_of_a_proved_field_is_found(everything: Dump) -> None:
    """Also if the last line is computed again. Both checks name the entry."""
    documents = [json.loads(line) for line in everything.data.splitlines()[:-1]]
    paths = [(n, path) for n, document in enumerate(documents) for path in values_of(document) if is_proved(document, path)]
    fields = sorted({(path[0], path[1]) for _, path in paths if path[0] != "leaves"} | {("leaves", "")})
    of_field = {field: [(n, path) for n, path in paths if field in ((path[0], path[1]), (path[0], ""))] for field in fields}

    def changed(n: int, path: tuple[Any, ...], place: int) -> bytes:
        def change(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
            holder: Any = found[n]
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = other(holder[path[-1]], place)
            return found

        return rewritten(everything.data, change)

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(choice=st.sampled_from(fields).flatmap(lambda field: st.sampled_from(of_field[field])), place=st.integers(0, 100))
    def any_value(choice: tuple[int, tuple[Any, ...]], place: int) -> None:
        n, path = choice
        data = changed(n, path, place)
        found, printed = everything.command(data), everything.program(data)
        assert found, (documents[n], path)
        assert printed, (documents[n], path, found)
        if path[0] == "entry" and path[1] != "seq" and f"line {n + 1} is malformed" not in found:
            name = f"account {everything.account_at(n)}, entry {documents[n]['entry']['seq']}: "
            assert found.startswith(name), (documents[n], path, found)
            assert printed.startswith((name, "malformed")), (documents[n], path, printed)

    any_value()


def test_other_spellings_of_a_signature_are_found(everything: Dump) -> None:
    """The decoder of base64 ignores bits of the last character before the padding."""
    documents = [json.loads(line) for line in everything.data.splitlines()]
    signatures = [document["seal"]["signature"] for document in documents if "seal" in document]
    signatures += [signed["signature"] for one in documents if (signed := one.get("account", {}).get("origin_signature"))]
    assert len(signatures) >= 3
    for signature in signatures:
        value = base64.b64decode(signature)
        last = next(
            last for last in "AQgwBRhx" if last != signature[-3] and base64.b64decode(f"{signature[:-3]}{last}==") == value
        )

        def change(
            found: list[dict[str, Any]], old: str = signature, new: str = f"{signature[:-3]}{last}=="
        ) -> list[dict[str, Any]]:
            changed: list[dict[str, Any]] = json.loads(json.dumps(found).replace(old, new))
            return changed

        data = rewritten(everything.data, change)
        assert data != everything.data
        assert everything.command(data)
        assert everything.program(data)
