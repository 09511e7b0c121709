"""Counters in memory shared by a program's processes: plain integers, as cheap to increment as those in a list.

Each process writes only to its own slot of the memory, so no lock is needed between processes, and any of them can add up the
slots. The counts of a process that ended stay in its slot, and the process that replaces it continues them. The memory belongs to
the program: when all its processes have ended, counting starts at zero again, which Prometheus expects.
"""

from __future__ import annotations

import json
import mmap
import threading
from bisect import bisect_left
from collections.abc import Sequence

from shared.metrics.definitions import Group

LABEL_BYTES = 1 << 19  # of a slot, for the labels of its blocks
CELLS = 1 << 18  # of a slot: 64-bit integers. The kernel allocates only pages that are used
HEADER = 2  # cells: bytes of labels, and cells in use
OVERFLOW = "other"  # the value of all labels once a slot is full
SLOT_CELLS = HEADER + LABEL_BYTES // 8 + CELLS

Totals = dict[str, dict[tuple[str, ...], list[int]]]  # by the group's name, then by the values of its labels


class SharedCounters:
    """The counters of all processes of a program. Create it before forking; `slots` is the number of processes."""

    def __init__(self, groups: Sequence[Group], slots: int = 1) -> None:
        self.groups = tuple(groups)
        self._bytes = mmap.mmap(-1, slots * SLOT_CELLS * 8)  # anonymous and shared: children inherit it
        self._cells = memoryview(self._bytes).cast("q")
        self._slots = slots
        self._by_name = {group.name: group for group in self.groups}

    def writer(self, slot: int = 0) -> CounterWriter:
        """Return the counters of this process. Its counts are continued, and its gauges are 0."""
        self.clear_gauges(slot)
        start = slot * SLOT_CELLS
        return CounterWriter(self.groups, self._cells[start : start + SLOT_CELLS], self._blocks(slot))

    def clear_gauges(self, slot: int) -> None:
        """Set the gauges of a process that has ended to 0."""
        for name, blocks in self._blocks(slot).items():
            group = self._by_name[name]
            for metric in group.metrics:
                if metric.is_gauge:
                    for at in blocks.values():
                        self._cells[slot * SLOT_CELLS + at + group.offset(metric.name)] = 0

    def totals(self) -> Totals:
        """Return the integers of every block, combined over all processes."""
        totals: Totals = {group.name: {} for group in self.groups}
        for slot in range(self._slots):
            for name, blocks in self._blocks(slot).items():
                group = self._by_name[name]
                for labels, at in blocks.items():
                    start = slot * SLOT_CELLS + at
                    values = self._cells[start : start + group.width].tolist()
                    known = totals[name].get(labels)
                    totals[name][labels] = values if known is None else _added(group, known, values)
        return totals

    def _blocks(self, slot: int) -> dict[str, dict[tuple[str, ...], int]]:
        """Return where each block of a slot begins, by group and labels."""
        blocks: dict[str, dict[tuple[str, ...], int]] = {group.name: {} for group in self.groups}
        start = (slot * SLOT_CELLS + HEADER) * 8
        written = self._bytes[start : start + self._cells[slot * SLOT_CELLS]]
        for line in written.splitlines():
            at, name, *labels = json.loads(line)
            blocks[name][tuple(labels)] = at
        return blocks


class CounterWriter:
    """The counters of one process.

    `cells` are its integers; `block` says where those of a group with certain labels begin. A single thread may increment cells
    directly. Different threads must use `add` and `observe` for the same cells.
    """

    def __init__(self, groups: Sequence[Group], cells: memoryview, blocks: dict[str, dict[tuple[str, ...], int]]) -> None:
        self.cells = cells
        self._bytes = cells.cast("B")
        self._blocks = blocks
        self._lock = threading.Lock()
        self._reserve = sum(group.width for group in groups)  # so that every group has room for an overflow block
        if not cells[1]:
            cells[1] = HEADER + LABEL_BYTES // 8

    def block(self, group: Group, labels: tuple[str, ...] = ()) -> int:
        """Return the index of the group's first cell for these values of its labels, which callers must not control."""
        at = self._blocks[group.name].get(labels)
        return self._new_block(group, labels) if at is None else at

    def add(self, at: int, count: int = 1) -> None:
        """Increment a cell that several threads write to."""
        with self._lock:
            self.cells[at] += count

    def observe(self, at: int, bounds: tuple[int, ...], value: int) -> None:
        """Count `value`, in stored units, in a histogram whose first cell is `at`."""
        with self._lock:
            self.cells[at + bisect_left(bounds, value)] += 1
            self.cells[at + len(bounds) + 1] += value

    def _new_block(self, group: Group, labels: tuple[str, ...]) -> int:
        with self._lock:
            known = self._blocks[group.name].get(labels)
            if known is not None:  # another thread has created it
                return known
            used, at = self.cells[0], self.cells[1]
            line = json.dumps([at, group.name, *labels]).encode() + b"\n"
            if at + group.width + self._reserve > SLOT_CELLS or used + len(line) + 200 * len(self._blocks) > LABEL_BYTES:
                overflow = (OVERFLOW,) * len(group.labels)
                if overflow in self._blocks[group.name]:
                    return self._blocks[group.name][overflow]
                labels, line = overflow, json.dumps([at, group.name, *overflow]).encode() + b"\n"
            start = HEADER * 8 + used
            self._bytes[start : start + len(line)] = line
            self.cells[1] = at + group.width
            self.cells[0] = used + len(line)  # last, so that a process that reads at this moment sees whole lines only
            self._blocks[group.name][labels] = at
            return at


def _added(group: Group, first: list[int], second: list[int]) -> list[int]:
    merged, at = [], 0
    for metric in group.metrics:
        pairs = zip(first[at : at + metric.width], second[at : at + metric.width], strict=True)
        merged += [max(pair) if metric.kind == "highest" else sum(pair) for pair in pairs]
        at += metric.width
    return merged
