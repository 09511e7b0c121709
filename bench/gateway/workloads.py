"""The tests: the load that each applies to a target, and the figures it reads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.gateway.machine import Cores, busy_seconds, cpu_seconds, memory_kb
from bench.gateway.targets import Gateway
from bench.load import Load, MockUpstream, figures

SAMPLE_SECONDS = 0.25
LOAD_CLIENT_SECONDS = 60  # how many seconds the load client may overrun


class Workload(NamedTuple):
    """A load: `latency_ms` before the upstream's answer, `delay_ms` before each event, `ramp_ms` until full load."""

    stream: bool
    connections: int
    latency_ms: int
    delay_ms: int
    seconds: float
    ramp_ms: int = 0


WORKLOADS = {
    "lat_c1": Workload(False, 1, 0, 0, 2),
    "lat_c16": Workload(False, 16, 50, 0, 2),
    "sat_c64": Workload(False, 64, 0, 0, 4),
    "sse_c1": Workload(True, 1, 0, 5, 4),
    "sse_burst": Workload(True, 32, 0, 0, 3),
    "sse_paced": Workload(True, 250, 0, 5, 3, 500),
    "slow_500": Workload(True, 500, 0, 50, 5, 1000),
    "slow_1000": Workload(True, 1000, 0, 50, 5, 1500),
}
WARM_UP = (Workload(False, 64, 0, 0, 2), Workload(True, 32, 0, 0, 1))


class _Reading(NamedTuple):
    at: float
    gateway_cpu: float
    database_cpu: float
    core_busy: float


class Bench:
    """Runs workloads on one gateway after another."""

    def __init__(self, programs: Path, mock: MockUpstream, cores: Cores, scale: float) -> None:
        self._programs, self._mock, self._cores, self._scale = programs, mock, cores, scale

    def warm_up(self, gateway: Gateway) -> int:
        """Apply load for some seconds. Returns the number of good answers."""
        return sum(int(self.run(workload, gateway, 0)["good"]) for workload in WARM_UP)

    def run(self, workload: Workload, gateway: Gateway, resting_kb: int) -> dict[str, Any]:
        """Apply the load to `gateway`. Returns figures (microseconds of CPU, milliseconds, kB of 1,024 bytes).

        `good` answers are complete and correct; `bad` ones are not; `unfinished` streams still ran 5 s after the end. Memory per
        stream is the increase over `resting_kb`. Raises `ValueError` if the load client failed.
        """
        self._mock.configure(workload.latency_ms, workload.delay_ms)
        before = self._read(gateway)
        peak_kb, output = self._load(workload, gateway)
        after = self._read(gateway)
        result = figures(output)
        if gateway.process is not None:
            result.update(_costs(result, before, after))
            result.update(peak_kb=peak_kb, kb_a_stream=(peak_kb - resting_kb) / workload.connections)
        return result

    def _load(self, workload: Workload, gateway: Gateway) -> tuple[int, str]:
        """Run the load client. Returns the gateway's peak memory and the client's output."""
        seconds = max(1, workload.seconds * self._scale)
        load = Load(workload.connections, seconds, stream=workload.stream, ramp_ms=workload.ramp_ms)
        client = load.start(self._programs, gateway.port, gateway.key, headers=gateway.headers)
        peak_kb, deadline = 0, time.monotonic() + 2 * seconds + LOAD_CLIENT_SECONDS
        with client:
            try:
                while client.poll() is None:
                    if time.monotonic() > deadline:
                        raise SystemExit(f"The load client did not finish {LOAD_CLIENT_SECONDS} s after its time.")
                    time.sleep(SAMPLE_SECONDS)
                    if gateway.process is not None:
                        peak_kb = max(peak_kb, memory_kb(gateway.process.pid))
                output, errors = client.communicate(timeout=LOAD_CLIENT_SECONDS)
            except BaseException:
                client.kill()
                raise
        return peak_kb, output + errors

    def _read(self, gateway: Gateway) -> _Reading:
        gateway_cpu = cpu_seconds(gateway.process.pid) if gateway.process else 0.0
        database_cpu = cpu_seconds(gateway.database.pid) if gateway.database else 0.0
        return _Reading(time.monotonic(), gateway_cpu, database_cpu, busy_seconds(self._cores.gateway))


def _costs(result: dict[str, Any], before: _Reading, after: _Reading) -> dict[str, float]:
    wall, cpu = after.at - before.at, after.gateway_cpu - before.gateway_cpu
    answers, chunks = result["good"] or None, result.get("chunks") or None
    costs = {
        "core_share": cpu / wall,
        "foreign_share": max(0.0, after.core_busy - before.core_busy - cpu) / wall,
    }
    if answers:
        costs["cpu_us"] = cpu / answers * 1e6
        costs["database_us"] = (after.database_cpu - before.database_cpu) / answers * 1e6
    if chunks:
        costs["cpu_us_a_chunk"] = cpu / chunks * 1e6
    return costs


def resting_memory(gateway: Gateway) -> int:
    """Return the memory of an idle gateway in kB; 0 for the mock itself."""
    return memory_kb(gateway.process.pid) if gateway.process else 0
