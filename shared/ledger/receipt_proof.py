"""The proof in a receipt: its charge is a ledger entry, the entry is sealed, and the charge follows from the price.

    {"entry": {…}, "previous": "hex", "leaf": {…}, "entries_path": […], "leaves_path": […], "seal": {…}, "public_key": "PEM"}

`entry` is as in a dump (`shared.ledger.dump`). Until the next seal, at most a day later, the parts from `leaf` on are null. A
path is a list of `["left" or "right", "hex"]`: the side and the hash of each sibling.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from shared.billing.request_shape import shape_id
from shared.core import signing
from shared.core.errors import InvalidInput
from shared.core.timestamps import format_timestamp
from shared.ledger.dump import read_entry
from shared.ledger.dump_check import details_problems, entry_hash
from shared.ledger.merkle import PathStep, leaf_hash, root_from
from shared.ledger.seal import Leaf, find_inclusion
from shared.ledger.sql import execute
from shared.ledger.witness import NO_HEAD

Document = dict[str, Any]
SIDES = ("right", "left")
_USAGE = ("model", "price", "status")
_TOKENS = {"input": 3, "cached_input": 4, "cache_write": 5, "output": 6, "reasoning": 7, "estimated": 8}


def read_proof(account: UUID, call: UUID) -> Document | None:
    """Return the proof for a call's charge, or None without a witnessed entry: it cost nothing, or was made before 0.6."""
    entry = read_entry(account, call)
    if entry is None or entry["hash"] is None:
        return None
    found = find_inclusion(account, entry["seq"], bytes.fromhex(entry["hash"]))
    proof: Document = {"entry": entry, "previous": _previous(account, entry)}
    if found is None:
        return {**proof, **dict.fromkeys(("leaf", "entries_path", "leaves_path", "seal", "public_key"))}
    _, first_seq, seq, head, root = found.leaf
    return {
        **proof,
        "leaf": {"first_seq": first_seq, "seq": seq, "head": head.hex(), "root": root.hex()},
        "entries_path": _path(found.entries_path),
        "leaves_path": _path(found.leaves_path),
        "seal": found.document,
        "public_key": found.public_key,
    }


def _previous(account: UUID, entry: Document) -> str:
    """Return the hash that an entry follows, or "" while a purge replaces it."""
    rows = execute(
        "SELECT entry_hash FROM ledger_entry WHERE account_id = ? AND seq < ? AND entry_hash IS NOT NULL"
        " ORDER BY seq DESC LIMIT 1",
        [account, entry["seq"]],
    ).fetchall()
    rows += execute("SELECT ledger_origin FROM account WHERE id = ?", [account]).fetchall()
    candidates = [NO_HEAD if value is None else bytes(value) for (value,) in rows]
    return next((before.hex() for before in candidates if entry_hash(before, entry).hex() == entry["hash"]), "")


def _path(path: Iterable[PathStep]) -> list[list[str]]:
    return [[SIDES[is_left], sibling.hex()] for is_left, sibling in path]


def _steps(path: list[list[str]]) -> list[PathStep]:
    return [PathStep(side == "left", bytes.fromhex(sibling)) for side, sibling in path]


def check_receipt(receipt: Document, keys: dict[str, str] | None = None) -> list[str]:
    """Return what is wrong with a receipt. `keys` are public keys in PEM by id; without them, the receipt's own is used.

    Raises `InvalidInput` if it is not a receipt with a proof.
    """
    try:
        return list(_check(receipt, keys))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, struct.error):
        raise InvalidInput(
            "Not a receipt with a proof. Save the response of GET /api/receipts/<request id>/ as a file."
        ) from None


def is_sealed(receipt: Document) -> bool:
    """Return whether a receipt's proof leads to a seal."""
    return receipt["proof"]["seal"] is not None


def _check(receipt: Document, keys: dict[str, str] | None) -> Iterator[str]:
    proof = receipt["proof"]
    entry = proof["entry"]
    yield from _check_counts(receipt, entry)
    yield from _check_steps(receipt)
    yield from _check_price(receipt)
    if entry["salt"] is None:
        yield "without a salt, the entry does not show what it commits to"
    yield from details_problems(entry)
    hashed = entry_hash(bytes.fromhex(proof["previous"]), entry)
    if not hashed.hex() == entry["hash"] == receipt["entry_hash"]:
        yield "the entry's hash does not follow from it and the entry before it"
    if proof["seal"] is not None:
        yield from _check_seal(proof, UUID(entry["account"]), hashed, keys)


def _check_counts(receipt: Document, entry: Document) -> Iterator[str]:
    """Compare the receipt with the usage that the entry commits to."""
    usage, tokens = entry["usage"], receipt["tokens"]
    if UUID(entry["call"]).hex not in receipt["request_id"]:
        yield "the entry is of another call"
    committed = {"model": usage[0], "status": usage[2], "credits_charged": usage[10], "of_it_overage": usage[11]}
    committed |= {"not_charged": usage[12], "request_sha256": usage[14], "created": format_timestamp(usage[13])}
    committed["service_tier"] = (usage[9] or {}).get("service_tier", "default")
    yield from (
        f"{name} is {receipt[name]}, but {value} in the entry" for name, value in committed.items() if receipt[name] != value
    )
    shape, committed_shape = receipt.get("request_shape"), usage[15] if len(usage) > 15 else None
    if shape is not None:  # null also if the shape was never stored
        names = {name: value for name, value in shape.items() if name != "id"}
        if not shape_id(names).hex() == shape["id"] == committed_shape:
            yield "the fields and headers sent are not those that the entry names"
    if receipt["price"] is not None and receipt["price"]["id"] != usage[1]:
        yield "the price is not the one that the entry names"
    counts = {name: usage[position] for name, position in _TOKENS.items()}
    counts |= {name: count for name, count in (usage[9] or {}).items() if name != "service_tier"}
    yield from (
        f"tokens.{name} is {tokens.get(name)}, but {count} in the entry"
        for name, count in counts.items()
        if tokens.get(name) != count
    )


def _check_steps(receipt: Document) -> Iterator[str]:
    """Recompute the steps from the counts and rates to the cost."""
    if not receipt["steps"]:
        if receipt["price"] is not None or receipt["cost"] is not None:
            yield "no steps lead to the cost"
        return
    *lines, total, rounded, with_call, at_least = receipt["steps"]
    token_lines, count_lines, tier_lines = _split(lines)
    tokens = sum(line["result"] for line in token_lines)
    for tier in tier_lines:  # at most one
        tokens = -(-tokens * tier["rate"] // 1000)
        if tier["result"] != tokens:
            yield "the step of the service tier does not follow from those of the tokens"
    if tokens + sum(line["result"] for line in count_lines) != total["result"]:
        yield "the steps do not add up to their total"
    for line in lines:
        if "tokens" in line and line["result"] != line["tokens"] * line["rate"]:
            yield f"the step {line['step']!r} does not follow from its count and rate"
    credits = -(-total["result"] // 1000)
    if rounded["result"] != credits or with_call["result"] != credits + with_call["rate"]:
        yield "the total is not rounded up once"
    if at_least["result"] not in (0, max(with_call["result"], at_least["rate"])) or receipt["cost"] != at_least["result"]:
        yield "the cost does not follow from the steps"
    if receipt["credits_charged"] != receipt["cost"] and not receipt["why"]:
        yield "the charge is not the cost, and no reason is given"


def _split(lines: list[Document]) -> tuple[list[Document], list[Document], list[Document]]:
    """Return the steps of tokens, those of other units, and that of the service tier, which is a factor of the tokens'."""
    tokens, counts = [line for line in lines if "tokens" in line], [line for line in lines if "count" in line]
    return tokens, counts, [line for line in lines if not ("tokens" in line or "count" in line)]


def _check_price(receipt: Document) -> Iterator[str]:
    """Compare the steps with the counts and the price. The entry commits only to the price's id."""
    price = receipt["price"]
    if not receipt["steps"]:
        return
    if price is None:
        yield "the price of the steps is missing"
        return
    *lines, _, _, with_call, at_least = receipt["steps"]
    token_lines, count_lines, _ = _split(lines)
    counted = [line["tokens"] for line in token_lines]
    if counted and sum(counted) != receipt["tokens"]["input"] + receipt["tokens"]["output"]:
        yield "the tokens of the steps are not those of the receipt"
    rates = {0, *(rate for name, rate in price.items() if name.startswith("credits_per_"))}
    rates |= {rate["credits"] for rate in price.get("rates", ())}
    yield from (f"the rate of the step {line['step']!r} is not in the price" for line in lines if line["rate"] not in rates)
    is_per_unit = with_call["rate"] == 0 and count_lines != []  # charged for each image, for example
    if not (is_per_unit or with_call["rate"] == price["credits_per_call"]) or at_least["rate"] != price["minimum_credits"]:
        yield "the price per call or the minimum charge is not that of the price"


def _check_seal(proof: Document, account: UUID, hashed: bytes, keys: dict[str, str] | None) -> Iterator[str]:
    leaf, seal = proof["leaf"], proof["seal"]
    root = root_from(leaf_hash(hashed), _steps(proof["entries_path"]))
    if root.hex() != leaf["root"]:
        yield "the entry is not in the account's tree"
    sealed = Leaf(account, leaf["first_seq"], leaf["seq"], bytes.fromhex(leaf["head"]), root)
    if root_from(sealed.hash, _steps(proof["leaves_path"])).hex() != seal["head"]["root"]:
        yield "the account's tree is not in the seal"
    pem = proof["public_key"] if keys is None else keys.get(seal["key_id"])
    if pem is None:
        yield f"the key {seal['key_id']} is not among those given"
        return
    key = signing.parse_public_key(pem.encode())
    if signing.key_id(key) != seal["key_id"] or not signing.is_valid(seal["head"], seal["signature"], key):
        yield "the seal's signature is invalid"
