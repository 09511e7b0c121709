"""Checks the documents of a ledger (`shared.ledger.dump`) from the first line to the last. Pure: needs no database.

Every entry must follow from the one before it, in its number, its balance and its hash, and every charge from the usage of its
call. The sums must be those of the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from shared.ledger.witness import NO_HEAD, commit, entry_details, hash_entry

Document = dict[str, Any]
OPENING_ACTOR = "purge"  # of an opening entry, which may have any number


class AccountCheck:
    """The check of one account, entry by entry."""

    def __init__(self, account: Document) -> None:
        self.account = account
        self._id = UUID(account["id"])
        self._head = bytes.fromhex(account["origin"] or "") or NO_HEAD
        self._origin = self._head
        self._follows_opening = False
        self._seq = self._balance = self._plan = self._held = 0
        self.unwitnessed = 0  # entries without a hash

    def entry(self, entry: Document) -> Iterator[str]:
        """Yield what is wrong with the next entry."""
        name = f"account {self._id}, entry {entry['seq']}"
        yield from (f"{name}: {problem}" for problem in (*self._amounts(entry), *self._chain(entry), *_details(entry)))

    def chain(self, entry: Document) -> Iterator[str]:
        """Yield what is wrong with the hashes of the next entry only."""
        name = f"account {self._id}, entry {entry['seq']}"
        yield from (f"{name}: {problem}" for problem in (*self._chain(entry), *_details(entry)))

    def hold(self, hold: Document) -> Iterator[str]:
        """Count an open hold."""
        self._held += hold["amount"]
        if hold["amount"] < 0:
            yield f"account {self._id}, hold {hold['call']}: a negative amount"

    def end(self) -> Iterator[str]:
        """Yield how the account differs from its entries and holds."""
        sums = {"balance": self._balance, "plan_credits": self._plan, "held": self._held, "entries": self._seq}
        for name, total in sums.items():
            if self.account[name] != total:
                yield f"account {self._id}: {name} is {self.account[name]}, but its rows say {total}"
        yield from self.end_of_chain()

    def end_of_chain(self) -> Iterator[str]:
        """Yield how the account's head differs from its last witnessed entry."""
        head = bytes.fromhex(self.account["head"] or "") or NO_HEAD
        if head not in self._heads():
            yield f"account {self._id}: its head is {head.hex()}, its last entry has the hash {self._head.hex()}"

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
            yield f"{entry['balance_after']} after it, but {self._balance} before it makes {self._balance + entry['amount']}"
        if entry["kind"] == "charge" and -entry["plan_amount"] != min(self._plan, -entry["amount"]):
            yield f"should have taken the {self._plan} plan credits first"
        self._seq, self._balance, self._plan = entry["seq"], entry["balance_after"], self._plan + entry["plan_amount"]

    def _chain(self, entry: Document) -> Iterator[str]:
        if entry["hash"] is None:
            self.unwitnessed += 1
            return
        entry_hash = bytes.fromhex(entry["hash"])
        if not any(_hash(before, entry) == entry_hash for before in self._heads()):
            yield "its hash does not follow from it and the entry before it"
        self._follows_opening = self._head == self._origin and entry["actor"] == OPENING_ACTOR
        self._head = entry_hash


def _hash(before: bytes, entry: Document) -> bytes:
    amounts = (entry["amount"], entry["balance_after"], entry["plan_amount"], entry["created_at"])
    return hash_entry(before, UUID(entry["account"]), entry["seq"], entry["kind"], *amounts, bytes.fromhex(entry["commitment"]))


def _details(entry: Document) -> Iterator[str]:
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


def check_chains(documents: Iterable[Document]) -> Iterator[str]:
    """Yield what is wrong with the hashes in the documents of `shared.ledger.dump.read_ledger`."""
    check: AccountCheck | None = None
    for document in documents:
        if (account := document.get("account")) is not None:
            if check is not None:
                yield from check.end_of_chain()
            check = AccountCheck(account)
        elif check is not None and (entry := document.get("entry")) is not None:
            yield from check.chain(entry)
    if check is not None:
        yield from check.end_of_chain()
