"""Checks the documents of a ledger (`shared.ledger.dump`) from the first line to the last. Pure: needs no database.

Every entry must follow from the one before it, in its number, its balance and its hash, and every charge from the usage of its
call. The sums must be those of the account. Sealed entries must still be there, unless a purge replaced them, which is signed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shared.core import signing
from shared.core.errors import InvalidInput
from shared.core.timestamps import format_timestamp
from shared.ledger.merkle import TreeBuilder, leaf_hash
from shared.ledger.purge_signature import OPENING_ACTOR, Opening, PurgeState, SignedPurges
from shared.ledger.seal import PURGES_SIGNED, Leaf, statement_hash
from shared.ledger.witness import NO_HEAD, commit, entry_details, hash_entry

Document = dict[str, Any]
MAX_FOLDED = 1_000  # accounts to list
HOUR_MS = 3_600_000  # difference of clocks, and duration of a seal and a dump
SEALED_WITHIN_MS = 25 * HOUR_MS  # seals are daily


class AccountCheck:
    """The check of one account, entry by entry. Without `purges`, the signature of its purge is not checked."""

    def __init__(self, account: Document, purges: SignedPurges | None) -> None:
        self.account = account
        self._purges = purges
        self.is_unsigned = False  # purged by a release that did not sign it
        self._has_entries = False
        self._opening: Opening | None = None
        self._id = UUID(account["id"])
        self._head = bytes.fromhex(account["origin"] or "") or NO_HEAD
        self._origin = self._head
        self._follows_opening = False
        self._seq = self._balance = self._plan = self._held = 0
        self.unwitnessed = 0  # entries without a hash
        self.folded: str | None = None  # sealed entries that a purge replaced
        self._leaves: list[_SealedRange] = []  # by seal
        self._open: list[_SealedRange] = []  # those that the next entries may belong to

    def leaf(self, leaf: Document) -> bytes:
        """Add a leaf, which comes before the entries. Returns its hash."""
        found = Leaf(self._id, leaf["first_seq"], leaf["seq"], bytes.fromhex(leaf["head"]), bytes.fromhex(leaf["root"]))
        self._leaves.append(_SealedRange(leaf["seal"], found, TreeBuilder()))
        self._open = sorted(self._leaves, key=lambda sealed: -sealed.leaf.first_seq)
        return found.hash

    def entry(self, entry: Document) -> Iterator[str]:
        """Yield what is wrong with the next entry."""
        name = f"account {self._id}, entry {entry['seq']}"
        self._find_opening(entry)
        yield from (f"{name}: {problem}" for problem in (*self._amounts(entry), *self._chain(entry), *details_problems(entry)))

    def chain(self, entry: Document) -> Iterator[str]:
        """Yield what is wrong with the hashes of the next entry only."""
        name = f"account {self._id}, entry {entry['seq']}"
        self._find_opening(entry)
        yield from (f"{name}: {problem}" for problem in (*self._chain(entry), *details_problems(entry)))

    def hold(self, hold: Document) -> Iterator[str]:
        """Count an open hold."""
        self._held += hold["amount"]
        if hold["amount"] < 0:
            yield f"account {self._id}, hold {hold['call']}: a negative amount"

    def end(self) -> Iterator[str]:
        """Yield how the account differs from its entries and holds."""
        yield from self.end_of_sums()
        if self.account["held"] != self._held:
            yield f"account {self._id}: held is {self.account['held']}, but its rows add up to {self._held}"
        yield from self.end_of_hashes()

    def end_of_hashes(self) -> Iterator[str]:
        """Yield what is wrong with the account's head, the signature of its purge, and its leaves."""
        yield from self.end_of_chain()
        yield from self.end_of_purge()
        first = self._replaced_leaves()
        self.folded = self._describe_folded(self._leaves[:first])
        yield from self.missing_leaves(first)

    def _replaced_leaves(self) -> int:
        """Return the number of leaves that a purge explains: it replaces the oldest entries, before any that is still there."""
        sealed = [range.is_found for range in self._leaves]
        was_purged = self.account["origin"] is not None
        first = 0 if not was_purged else sealed.index(True) if True in sealed else len(sealed)
        signed = self.account.get("origin_signature")
        leaves = signed.get("leaves") if isinstance(signed, dict) else None
        return min(first, leaves) if isinstance(leaves, int) else first

    def end_of_sums(self) -> Iterator[str]:
        """Yield how the account differs from the sums of its entries."""
        sums = {"balance": self._balance, "plan_credits": self._plan, "entries": self._seq}
        for name, total in sums.items():
            if self.account[name] != total:
                yield f"account {self._id}: {name} is {self.account[name]}, but its rows add up to {total}"

    def missing_leaves(self, first: int) -> Iterator[str]:
        """Yield leaves from position `first` whose entries were not found."""
        for number, leaf, _ in (range for range in self._leaves[first:] if not range.is_found):
            yield f"account {self._id}, entries {leaf.first_seq} to {leaf.seq}: not those in seal {number}"

    def _describe_folded(self, replaced: Sequence[_SealedRange]) -> str | None:
        """Describe the last of the `replaced` leaves, and whether the purge began right after it."""
        if not replaced:
            return None
        seal, leaf, _ = replaced[-1]
        where = "up to" if leaf.head == self._origin else "after"
        return f"account {self._id}: a purge replaced entries {where} its sealed head, entry {leaf.seq} in seal {seal}"

    def end_of_chain(self) -> Iterator[str]:
        """Yield how the account's head differs from its last witnessed entry."""
        head = bytes.fromhex(self.account["head"] or "") or NO_HEAD
        if head not in self._heads():
            yield f"account {self._id}: its head is {head.hex()}, its last entry has the hash {self._head.hex()}"

    def end_of_purge(self) -> Iterator[str]:
        """Yield what is wrong with the signature of the account's purge."""
        if self._purges is None:
            return
        signed = self.account.get("origin_signature")
        origin = None if self.account["origin"] is None else bytes.fromhex(self.account["origin"])
        self.is_unsigned = signed is None and (origin is not None or self._opening is not None)
        if signed is not None:
            problem = self._purges.problem(PurgeState(self._id, origin, self._opening), signed)
        elif self.is_unsigned and self._purges.since is not None:
            problem = "no signature proves that a purge replaced its oldest entries"
        else:
            problem = None
        if problem is not None:
            yield f"account {self._id}: {problem}"

    def _find_opening(self, entry: Document) -> None:
        if not self._has_entries and entry["actor"] == OPENING_ACTOR:
            self._opening = Opening(entry["seq"], entry["balance_after"], entry["plan_amount"])
        self._has_entries = True

    def _heads(self) -> tuple[bytes, ...]:
        """Return the hashes that the next entry may follow. While a purge runs, it may be that of the last replaced entry."""
        return (self._head, self._origin) if self._follows_opening else (self._head,)

    def _amounts(self, entry: Document) -> Iterator[str]:
        is_opening = entry["actor"] == OPENING_ACTOR and not self._seq
        if entry["account"] != str(self._id):
            yield "belongs to another account"
        if entry["seq"] != self._seq + 1 and not is_opening:
            yield f"follows number {self._seq}"
        if entry["balance_after"] != self._balance + entry["amount"]:
            yield f"the balance after it is {entry['balance_after']}, but must be {self._balance + entry['amount']}"
        if entry["kind"] == "charge" and -entry["plan_amount"] != min(self._plan, -entry["amount"]):
            yield f"should have used the {self._plan} plan credits first"
        self._seq, self._balance, self._plan = entry["seq"], entry["balance_after"], self._plan + entry["plan_amount"]

    def _chain(self, entry: Document) -> Iterator[str]:
        if entry["hash"] is None:
            self.unwitnessed += 1
            return
        hashed = bytes.fromhex(entry["hash"])
        if not any(entry_hash(before, entry) == hashed for before in self._heads()):
            yield "its hash does not follow from it and the entry before it"
        self._follows_opening = self._head == self._origin and entry["actor"] == OPENING_ACTOR
        self._head = hashed
        self._count_sealed(entry["seq"], leaf_hash(hashed))

    def _count_sealed(self, seq: int, hashed: bytes) -> None:
        """Add an entry to the trees that cover its number."""
        while self._open and self._open[-1].leaf.seq < seq:
            self._open.pop()
        for sealed in reversed(self._open):
            if sealed.leaf.first_seq > seq:
                return
            if sealed.leaf.seq >= seq:
                sealed.tree.add(hashed)


class _SealedRange(NamedTuple):
    """A leaf, and the tree of the entries that were found for it."""

    seal: int
    leaf: Leaf
    tree: TreeBuilder

    @property
    def is_found(self) -> bool:
        return self.tree.root == self.leaf.root


def entry_hash(before: bytes, entry: Document) -> bytes:
    """Return the hash of an entry that follows the hash `before`."""
    amounts = entry["amount"], entry["balance_after"], entry["plan_amount"]
    commitment = bytes.fromhex(entry["commitment"])
    return hash_entry(before, UUID(entry["account"]), entry["seq"], entry["kind"], amounts, entry["created_at"], commitment)


def details_problems(entry: Document) -> Iterator[str]:
    """Yield what is wrong with an entry's details. Without a salt they were deleted."""
    usage = entry["usage"]
    if entry["kind"] == "charge" and entry["call"] is not None:
        if usage is None:
            yield f"the usage of call {entry['call']} is missing"
            return
        credits, overage = usage[10], usage[11]
        if credits - overage != -entry["amount"]:
            yield f"charged {-entry['amount']}, its call cost {credits}, of which {overage} are overage"
    if entry["salt"] is not None:
        call = None if entry["call"] is None else UUID(entry["call"])
        details = entry_details(entry["actor"], entry["reason"], call, usage)
        if commit(bytes.fromhex(entry["salt"]), details).hex() != entry["commitment"]:
            yield "its details are not those that it commits to"


# What a line raises that is not of a dump; `RecursionError` for thousands of nested brackets.
_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    struct.error,
    InvalidInput,
)


class DumpCheck:
    """The check of a dump, line by line. `heads` are published documents (`shared.ledger.seal.published`) to compare it with.

    `notes` are not problems: they say what was not compared, and whether newer seals could have been removed.
    """

    def __init__(self, heads: Document | None = None) -> None:
        self._heads = {document["head"]["number"]: document for document in (heads or {}).get("heads", ())}
        self._last_head = max(self._heads, default=None)
        for document in self._heads.values():
            _sealed_at(document["head"])  # raises an error for a malformed file
        self._keys: dict[str, str] = (heads or {}).get("keys", {})
        self._purges: SignedPurges | None = SignedPurges(self._keys, None)
        self._only_hashes = False
        self._created_at = self._newest = self._sealed_at = 0  # ms UTC: of the dump, its newest entry, and its last seal
        self._purges_signed_since: int | None = None  # as the seals say
        self._account: AccountCheck | None = None
        self._seal: Document | None = None
        self._tree = TreeBuilder()
        self._position = 0
        self._leaves = 0  # sums of hashes: leaves of accounts must be those of the seals, in any order
        self._previous: str | None = None
        self._digest = hashlib.sha256()
        self._lines = 0
        self._is_complete = False
        self._last_id = ""
        self.notes: list[str] = []
        self.folded: list[str] = []  # accounts with sealed entries that a purge replaced, at most `MAX_FOLDED`
        self.counts = {"accounts": 0, "entries": 0, "holds": 0, "seals": 0, "unwitnessed": 0, "folded": 0, "unsigned": 0}

    def run(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Yield what is wrong with the lines. A malformed line ends the check."""
        for line in lines:
            if self._is_complete:
                yield "lines follow the last one"
                return
            try:
                [(kind, content)] = json.loads(line).items()
                if not line.endswith(b"\n"):
                    raise ValueError("incomplete")
                yield from _READERS[kind](self, content)
            except _MALFORMED:
                yield f"line {self._lines + 1} is malformed{self._near()}"
                return
            self._digest.update(line)
            self._lines += 1
        if not self._is_complete:
            yield "the dump is incomplete: its last line is missing"

    def run_hashes(self, documents: Iterable[Document], purges: SignedPurges | None) -> Iterator[str]:
        """Yield what is wrong with hashes, signatures and seals in the documents of `read_ledger` and `read_seals`.

        Without `purges`, the signatures of purges are not checked.
        """
        self._purges, self._only_hashes = purges, True
        for document in documents:
            [(kind, content)] = document.items()
            yield from _READERS[kind](self, content)
        yield from self._end_ledger()

    def _near(self) -> str:
        return "" if self._account is None else f", near account {self._account.account['id']}"

    def _read_header(self, header: Document) -> Iterator[str]:
        if self._lines or header["version"] != 1:
            yield "not a dump of version 1"
        self._purges = SignedPurges(self._keys or header.get("keys", {}), header.get("purges_signed_since"))
        self._created_at = int(header["created_at"])

    def _read_account(self, account: Document) -> Iterator[str]:
        yield from self._end_account()
        if account["id"] <= self._last_id:
            yield f"account {account['id']}: not in order"
        self._last_id = account["id"]
        self._account = AccountCheck(account, self._purges)
        self.counts["accounts"] += 1

    def _end_account(self) -> Iterator[str]:
        if self._account is not None:
            yield from self._account.end_of_hashes() if self._only_hashes else self._account.end()
            self.counts["unwitnessed"] += self._account.unwitnessed
            self.counts["unsigned"] += self._account.is_unsigned
            if self._account.folded is not None:
                self.counts["folded"] += 1
                self.folded += [self._account.folded] if len(self.folded) < MAX_FOLDED else []
            self._account = None

    def _read_leaf(self, leaf: Document) -> Iterator[str]:
        self._count_leaf(leaf["seal"], leaf["position"], self._current.leaf(leaf), 1)
        yield from ()

    def _read_entry(self, entry: Document) -> Iterator[str]:
        self.counts["entries"] += 1
        if self._only_hashes:
            yield from self._current.chain(entry)
            return
        yield from self._current.entry(entry)
        self._newest = max(self._newest, entry["created_at"])
        if entry["created_at"] > self._created_at + HOUR_MS:
            yield f"account {entry['account']}, entry {entry['seq']}: dated after the dump was made"

    def _read_hold(self, hold: Document) -> Iterator[str]:
        self.counts["holds"] += 1
        yield from self._current.hold(hold)

    @property
    def _current(self) -> AccountCheck:
        if self._account is None:
            raise ValueError("no account")
        return self._account

    def _read_seal(self, seal: Document) -> Iterator[str]:
        yield from self._end_account()
        yield from self._end_seal()
        self._seal, self._tree, self._position = seal, TreeBuilder(), 0
        self.counts["seals"] += 1
        statement = seal["head"]
        name = f"seal {statement['number']}"
        if statement.get(PURGES_SIGNED) and self._purges_signed_since is None:
            self._purges_signed_since = statement["number"]
        if statement["number"] != self.counts["seals"] or statement["previous"] != self._previous:
            yield f"{name}: does not follow the one before it"
        self._previous, self._sealed_at = statement_hash(statement), _sealed_at(statement)
        if not self._only_hashes and self._sealed_at > self._created_at + HOUR_MS:
            yield f"{name}: made after the dump"
        pem: str = self._keys.get(seal["key_id"]) or seal["public_key"]
        key = signing.parse_public_key(pem.encode())
        if signing.key_id(key) != seal["key_id"] or not signing.is_valid(statement, seal["signature"], key):
            yield f"{name}: its signature is invalid"
        known = self._heads.pop(statement["number"], None)
        if known is not None and known["head"] != statement:
            yield f"{name}: not the published one"

    def _read_leaves(self, hashes: list[str]) -> Iterator[str]:
        if self._seal is None:
            raise ValueError("no seal")
        for hashed in map(bytes.fromhex, hashes):
            self._count_leaf(self._seal["head"]["number"], self._position, hashed, -1)
            self._tree.add(hashed)
            self._position += 1
        yield from ()

    def _count_leaf(self, seal: int, position: int, hashed: bytes, sign: int) -> None:
        digest = hashlib.sha256(b"%d %d %s" % (seal, position, hashed)).digest()
        self._leaves += sign * int.from_bytes(digest, "big")

    def _end_seal(self) -> Iterator[str]:
        if self._seal is not None:
            statement = self._seal["head"]
            if self._tree.root.hex() != statement["root"] or self._position != statement["leaves"]:
                yield f"seal {statement['number']}: its leaves do not lead to its root"

    def _read_end(self, end: Document) -> Iterator[str]:
        yield from self._end_ledger()
        self._is_complete = True
        yield from self._compare_heads()
        self._add_notes()
        if end["lines"] != self._lines or end["sha256"] != self._digest.hexdigest():
            yield "the lines are not those that the last line names"

    def _end_ledger(self) -> Iterator[str]:
        yield from self._end_account()
        yield from self._end_seal()
        self._seal = None
        if self._purges is not None and self._purges.since != self._purges_signed_since:
            yield f"purges are signed since seal {self._purges_signed_since}, but the first line names {self._purges.since}"
        if self._leaves:
            yield "the leaves of the accounts are not those of the seals"

    def _compare_heads(self) -> Iterator[str]:
        """Yield seals that the dump must have, because they were published before it was made."""
        for number, document in sorted(self._heads.items()):
            if number <= self.counts["seals"]:
                yield f"seal {number}: published, but not in the dump"
            elif _sealed_at(document["head"]) + HOUR_MS <= self._created_at:
                yield f"seal {number}: published before the dump was made, but not in it"

    def _add_notes(self) -> None:
        seals, last = self.counts["seals"], self._last_head
        if last is not None and last > seals:
            self.notes.append(f"the heads have seals up to {last}, the dump up to {seals}: it is older")
        elif last is not None and last < seals:
            self.notes.append(
                f"the heads have seals up to {last}, so later ones of the dump were not compared: get the heads again"
            )
        newest = max(self._created_at, self._newest)
        if self.counts["entries"] and newest - self._sealed_at > SEALED_WITHIN_MS:
            until = f"seal {seals} of {format_timestamp(self._sealed_at)}" if seals else "no seal"
            self.notes.append(
                f"the dump of {format_timestamp(newest)} has {until}, although seals are daily: later ones may have been removed"
            )


def _sealed_at(statement: Document) -> int:
    """Return when a seal was made (ms UTC)."""
    return int(datetime.fromisoformat(statement["sealed_at"]).timestamp() * 1000)


_READERS: dict[str, Callable[[DumpCheck, Any], Iterator[str]]] = {
    "ledger": DumpCheck._read_header,
    "account": DumpCheck._read_account,
    "leaf": DumpCheck._read_leaf,
    "entry": DumpCheck._read_entry,
    "hold": DumpCheck._read_hold,
    "seal": DumpCheck._read_seal,
    "leaves": DumpCheck._read_leaves,
    "end": DumpCheck._read_end,
}
