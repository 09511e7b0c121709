"""Probes of the embedded chat model against itself and against modified copies of it: how many probes until an alarm.

    python -m bench.same_model [--probes 200] [--runs 10000] [--seed 1]

The reference and each channel are processes of `python -m embedded` with files of SmolLM2 135M (4 bits a weight):

    same                     the same file
    other batches            the same file, but prompts in batches of 16 tokens: other rounding errors, as of other hardware
    three bits               each 4-bit weight of all layers rounded to one of 8 levels, as by a coarser quantization
    three bits in 10 layers  the same for every third layer
    28 layers                the last two of the 30 layers do nothing, as in a smaller model

The probes are those of `shared/probes`, at their real HTTP interface. Tool calls are not compared, because the model has none.
The false alarm rate is that of `--runs` simulated runs; their choices are drawn from the recorded ones of the reference.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import struct
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from shared.catalog.snapshot import Route
from shared.core.secrets import seal
from shared.core.settings import Settings
from shared.probes.client import ProbeClient, ShapeRefused
from shared.probes.evidence import KINDS, RUN_PROBES, THRESHOLD, Choice, Evidence
from shared.probes.questions import CHOICE_SIZE, SHAPES
from tests.servers.process import ROOT, Process, start_on_free_port

SETTINGS = Settings.load({"SECRET_KEY": "a development key of the bench, 32 characters"}, dotenv=None)
Q4_1 = 3  # of ggml's tensor types: blocks of 32 weights, each with scale and minimum (16-bit floats) and 16 bytes of 4-bit values
BLOCK_BYTES = 20
STRING, ARRAY = 8, 9
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
EXAMPLE_CHOICES = [0] * 60 + [1] * 20 + [2] * 10 + [3] * 5 + [4] * 5  # if no channel is compared
LAYERS_LEFT_OUT = ("blk.28.", "blk.29.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=RUN_PROBES)
    parser.add_argument("--runs", type=int, default=1_000, help="simulated runs of the same model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="channels to compare; without a name, only simulate")
    parser.add_argument("--serve", nargs=3, metavar=("FILE", "PORT", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve(Path(options.serve[0]), options.serve[1], int(options.serve[2]))
    choices: list[int] = []
    if options.only != []:
        with tempfile.TemporaryDirectory() as folder:
            choices = _compare_all(options, Path(folder))
    print(f"\n{options.runs:,} simulated runs of {options.probes} probes of the same model:\n")
    print("| probes in which one reply differs | alarms | highest e-value |\n| --- | --- | --- |")
    for share in (0.1, 0.5, 1.0):
        source = random.Random(options.seed)
        alarms, highest = _false_alarms(choices or EXAMPLE_CHOICES, share, options.runs, options.probes, source)
        print(f"| {share:.0%} | {alarms} | {highest:.3g} |", flush=True)
    return 0


def _compare_all(options: argparse.Namespace, folder: Path) -> list[int]:
    """Compare each channel with the reference. Returns the choices of the reference."""
    choices: list[int] = []
    reference, reference_process = _start("reference", _original(), folder)
    try:
        print("| channel | probes until the alarm | e-value | differing replies: channel, reference, of probes |")
        print("| --- | --- | --- | --- |")
        for name, path, batch in _twins(folder):
            if options.only and name not in options.only:
                continue
            channel, process = _start(name, path, folder, batch)
            try:
                evidence, chosen = _observe(reference, channel, options.probes, options.seed)
            finally:
                process.kill()
            choices += chosen
            _report(name, evidence)
    finally:
        reference_process.kill()
    return choices


def _observe(reference: Route, channel: Route, probes: int, seed: int) -> tuple[Evidence, list[int]]:
    """Probe until the alarm. Returns the evidence, and the choices of the reference."""
    client, evidence = ProbeClient(SETTINGS, random.Random(seed)), Evidence()
    choices: list[int] = []
    while evidence.probes < probes and not evidence.is_different:
        try:
            observed = client.probe(client.shape_for(evidence.probes, reference, channel), reference, channel).observation
        except ShapeRefused:  # the model has no tool calls
            continue
        evidence = evidence.plus(observed.differing, observed.choice)
        choices += observed.choice.reference if observed.choice else ()
    return evidence, choices


def _report(name: str, evidence: Evidence) -> None:
    logs, kinds = evidence.log_capitals(), []
    for kind in KINDS:
        if kind in evidence.differences:
            counts = evidence.differences[kind]
            kinds.append(f"{kind} {counts.channel}, {counts.reference}, {counts.probes}")
        elif kind in logs:
            kinds.append(f"{kind}: capital {math.exp(logs[kind]):.2g}")
    alarm = evidence.probes if evidence.is_different else f"none in {evidence.probes}"
    print(f"| {name} | {alarm} | {evidence.value():.2g} | {'; '.join(kinds)} |", flush=True)


def _false_alarms(choices: Sequence[int], share: float, runs: int, probes: int, source: random.Random) -> tuple[int, float]:
    """Return how many simulated runs of the same model end with an alarm, and the highest e-value.

    In a `share` of the probes one of the three replies differs, each with the same probability, in all kinds at once. Choices are
    drawn from those of the reference.
    """
    alarms, highest = 0, 0.0
    for _ in range(runs):
        evidence, peak = Evidence(), 0.0
        for number in range(probes):
            who = source.choice(("channel", "reference", "reference")) if source.random() < share else ""
            first, second, third = source.choices(choices, k=3)
            is_choice = SHAPES[number % len(SHAPES)] == "choice"
            choice = Choice("numbers", CHOICE_SIZE + 1, (first, second), third) if is_choice else None
            evidence = evidence.plus({"token_counts": who} if is_choice else dict.fromkeys(KINDS[:3], who), choice)
            if choice or who == "channel":  # otherwise it falls
                peak = max(peak, evidence.value())
        highest = max(highest, peak)
        alarms += peak >= THRESHOLD
    return alarms, highest


def _original() -> Path:
    from embedded.model_file import find_model

    return find_model()


def _twins(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield names, model files and batch sizes (0: the default) of the channels."""
    original = _original()
    yield "same", original, 0
    yield "other batches", original, 16
    yield "three bits", _changed(original, folder / "three-bits.gguf", _round), 0
    yield "three bits in 10 layers", _changed(original, folder / "few.gguf", _round_some), 0
    yield "28 layers", _changed(original, folder / "layers.gguf", _leave_out), 0


def _changed(original: Path, path: Path, change: Any) -> Path:
    """Write a copy of a model file whose tensors of 4 bits a weight went through `change(name, blocks)`."""
    import numpy

    data = bytearray(original.read_bytes())
    with original.open("rb") as file:
        for name, start, size in _tensors(file):
            blocks = numpy.frombuffer(data, numpy.uint8, size, start).reshape(-1, BLOCK_BYTES)
            change(name, blocks)
    path.write_bytes(data)
    return path


def _round(_name: str, blocks: Any) -> None:
    """Round each 4-bit value to an even one."""
    import numpy

    low, high = blocks[:, 4:] & 15, blocks[:, 4:] >> 4
    blocks[:, 4:] = numpy.minimum((low + 1) & 14, 14) | (numpy.minimum((high + 1) & 14, 14) << 4)


def _round_some(name: str, blocks: Any) -> None:
    """Round the values of every third layer only."""
    if name.startswith("blk.") and int(name.split(".")[1]) % 3 == 0:
        _round(name, blocks)


def _leave_out(name: str, blocks: Any) -> None:
    """Set the outputs of some layers to zero. The model adds them to its state, so these layers do nothing."""
    if name.startswith(LAYERS_LEFT_OUT) and ("attn_output" in name or "ffn_down" in name):
        blocks[:] = 0


def _tensors(file: BinaryIO) -> list[tuple[str, int, int]]:
    """Return name, position and size in bytes of each tensor of the type Q4_1. Source: ggml, docs/gguf.md, version 3."""
    _magic, _version, tensors, keys = _read(file, "4sIQQ")
    alignment = 32
    for _ in range(keys):
        key = _read_text(file)
        value = _read_value(file, _read(file, "I")[0])
        alignment = value if key == "general.alignment" else alignment
    found = []
    for _ in range(tensors):
        name, dimensions = _read_text(file), _read(file, "I")[0]
        shape = _read(file, "Q" * dimensions)
        kind, offset = _read(file, "IQ")
        if kind == Q4_1:
            found.append((name, offset, math.prod(shape) // 32 * BLOCK_BYTES))
    start = -(-file.tell() // alignment) * alignment
    return [(name, start + offset, size) for name, offset, size in found]


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))


def _read_text(file: BinaryIO) -> str:
    return file.read(_read(file, "Q")[0]).decode()


def _read_value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _read_text(file)
    if kind == ARRAY:
        element, count = _read(file, "IQ")
        return [_read_value(file, element) for _ in range(count)]
    return _read(file, FORMATS[kind])[0]


def _start(name: str, path: Path, folder: Path, batch: int = 0) -> tuple[Route, Process]:
    """Start the embedded provider with a model file. Returns a route to it, and the process."""

    def start(port: int) -> Process:
        argv = [sys.executable, "-m", "bench.same_model", "--serve", str(path), str(port), str(batch)]
        return Process(name, argv, env=dict(os.environ), cwd=ROOT, log=folder / f"{name}.log")

    process, port = start_on_free_port(start, lambda _, port: _is_ready(port))
    secret = seal("", SETTINGS.secret_key)
    url = f"http://127.0.0.1:{port}/v1"
    return Route(uuid4(), uuid4(), name, "openai", url, secret, {}, "smollm2-135m-instruct", 0, 1), process


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as reply:
            return b'"ready"' in reply.read()
    except OSError:
        return False


def _serve(path: Path, port: str, batch: int) -> int:
    """Serve another file as the embedded model, whose checksum is not checked."""
    from embedded import __main__ as embedded
    from embedded import llama, model_file

    def tune(params: Any, slots: int) -> None:
        tune_as_usual(params, slots)
        if batch:
            params.n_batch = params.n_ubatch = batch

    tune_as_usual, llama._tune = llama._tune, tune
    model_file.find_model = lambda: path
    model_file.verify_checksum = lambda *_: None
    sys.argv = ["embedded", "--port", port, "--slots", "1"]
    return embedded.main()


if __name__ == "__main__":
    sys.exit(main())
