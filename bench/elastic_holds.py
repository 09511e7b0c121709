"""Agents that share one pool: how many calls are served, refused or cut, with full holds and with elastic ones.

    python -m bench.elastic_holds                   bursts of 64 agents, at several sizes of the pool
    python -m bench.elastic_holds --calls 1000000   a million calls; no pool is ever overdrawn
    python -m bench.elastic_holds --live            64 agents at once against a real edge, on a pool that pays for 70 calls

The simulation has its own clock, and uses the functions of the edge and the ledger for prices, holds and extensions. Calls are
like those of coding agents: prompts of 2,000 to 150,000 tokens, an output limit of 32,000, a log-normal output with a median of
300, and four of five calls streaming. *Head room* is the size of the pool divided by the cost of all calls of the burst. "Full"
holds the maximum cost, or all that is left, and refuses other calls for good. Agents repeat a refused call after `retry-after`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx

from edge.call.stream_hold import MIN_STEP_TOKENS, RETRY_SECONDS, WAIT_SECONDS
from shared.billing.elastic_hold import (
    HIGH_FRACTION,
    HIGH_PERCENT,
    TYPICAL_FRACTION,
    expected_cost,
    max_tokenizer_percent,
    paid_output,
    retry_after_ms,
    spendable,
)
from shared.billing.output_histogram import BOUNDS, bucket_of, percentile
from shared.billing.pricing import PriceList, Quote, affordable_output, call_charge, quote
from shared.billing.token_usage import TokenUsage
from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.core.errors import CreditsHeld
from shared.identity.payer import KeyPayer
from shared.ledger import Reservation
from shared.ledger.reserve import Funds, hold_amount
from shared.ledger.settle import overrun_margin
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, UsageLedger
from tests import factories
from tests.databases import opened
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens
from tests.openai_payloads import usage as usage_chunk
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Request, Upstream
from tests.upstream_responses import Pause, ScriptedResponse, delayed, json_response, stream

BURST = 64
LIMIT = 32_000
BYTES_PER_TOKEN = 4  # of a prompt
ESTIMATE = 1.4  # tokens estimated from a stream's bytes, per real token of English
TOKENS_PER_SECOND, FIRST_TOKEN_SECONDS = 50, 0.3
MAX_TRIES = 400
SEEDS_PER_TASK = 250
PRICE = PriceList(UUID(int=1), 0, 3_000, 15_000, 300, 0, 10)
PERCENT = max_tokenizer_percent(["claude-opus-4-8"])
PAYER = KeyPayer("0" * 64)


class Call(NamedTuple):
    """One call of a trace, in tokens, with its real cost in credits."""

    input: int
    output: int
    streams: bool
    quote: Quote
    cost: int


class Result(NamedTuple):
    """The outcome of one burst. Held and charged are sums over the calls, in credits; `seconds` is when the last one ended."""

    served: int
    refused: int
    cut: int
    held: int
    charged: int
    overrun: int
    extensions: int
    waits: int
    seconds: float


def trace(pick: random.Random, number: int) -> list[Call]:
    calls = []
    for _ in range(number):
        size = int(min(150_000, max(2_000, pick.lognormvariate(9.6, 1.0))))
        output = int(min(LIMIT, max(5, pick.lognormvariate(5.7, 1.0))))
        quoted = quote(PRICE, input_bound=size * BYTES_PER_TOKEN, input_estimate=size, output_limit=LIMIT)
        calls.append(Call(size, output, pick.random() < 0.8, quoted, call_charge(PRICE, TokenUsage(size, output))))
    return calls


def known_outputs() -> tuple[int, int]:
    """Return the typical and the high output of recent calls, as computed from the catalog's histograms."""
    counts = [0] * len(BOUNDS)
    for call in trace(random.Random(0), 2_000):
        counts[bucket_of(call.output)] += 1
    typical, high = percentile(counts, TYPICAL_FRACTION), percentile(counts, HIGH_FRACTION)
    assert typical is not None
    assert high is not None
    return typical, high * HIGH_PERCENT // 100


class Running:
    """A call that was admitted."""

    __slots__ = ("amount", "grows", "input_tokens", "limit", "paid", "scale", "since", "waited")

    def __init__(self, call: Call, amount: int, limit: int, input_tokens: int, now: float, *, grows: bool) -> None:
        self.amount, self.limit, self.since, self.grows, self.input_tokens = amount, limit, now, grows, input_tokens
        self.scale = ESTIMATE
        self.waited = 0.0
        self.paid = paid_output(call.quote, input_tokens, amount)


class Burst:
    """A burst of calls on one pool, event by event."""

    def __init__(
        self, calls: Sequence[Call], credits: int, pick: random.Random, known: tuple[int, int], *, elastic: bool
    ) -> None:
        self.calls, self.balance, self.pick, self.known, self.elastic = calls, credits, pick, known, elastic
        self.held = 0
        self.running: dict[int, Running] = {}
        self.reservations: dict[int, Reservation] = {}
        self.tries = [0] * len(calls)
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self._events: list[tuple[float, int, Callable[[int, float], None], int]] = []
        self._number = 0
        for index in range(len(calls)):
            self._at(pick.random() * 0.05, self.ask, index)

    def run(self) -> Result:
        while self._events:
            now, _, act, index = heapq.heappop(self._events)
            act(index, now)
            assert 0 <= self.held <= self.balance, "the pool is overdrawn"
        assert self.held == 0
        found = self.counts
        names = ("served", "refused", "cut", "held", "charged", "overrun", "extensions", "waits")
        return Result(**{name: found[name] for name in names}, seconds=self.seconds)

    def ask(self, index: int, now: float) -> None:
        call = self.calls[index]
        self.tries[index] += 1
        if self.balance < call.quote.minimum:
            self._count(refused=1)
            return
        free = self.balance - self.held
        input_tokens = min(call.input * PERCENT // 100, call.quote.input_bound)
        reservation = self.reservations.get(index)
        if reservation is None:
            wanted = expected_cost(call.quote, input_tokens, self.known[0] if call.streams else self.known[1])
            reservation = Reservation(_NO_CALL, "m", call.quote, 0, PAYER, elastic=self.elastic, expected=wanted)
            self.reservations[index] = reservation
        try:
            amount = hold_amount(reservation, Funds(free, self.balance, free))
        except CreditsHeld:
            self._wait(index, now)
            return
        self.held += amount
        grows = self.elastic and call.streams and amount < call.quote.bound
        if grows:
            limit = affordable_output(call.quote, min(self.balance, call.quote.bound))
        else:
            limit = affordable_output(call.quote, spendable(call.quote, amount, free - amount if self.elastic else 0))
        running = self.running[index] = Running(call, amount, limit, input_tokens, now + FIRST_TOKEN_SECONDS, grows=grows)
        self._next(index, running.paid / 2, 0.0, now)

    def _wait(self, index: int, now: float) -> None:
        if not self.elastic or self.tries[index] >= MAX_TRIES:
            self._count(refused=1)
            return
        ages = sorted(now - running.since for running in self.running.values())
        wait_ms = retry_after_ms(ages[len(ages) // 2] if ages else 0.0, self.pick.random)
        self._count(waits=1)
        self._at(now + wait_ms / 1000, self.ask, index)

    def _next(self, index: int, ask_at: float, used: float, now: float) -> None:
        """Schedule the end, or the next request for credits, at `ask_at` tokens by the estimate; `used` of them are delivered."""
        call, running = self.calls[index], self.running[index]
        end = min(call.output, running.limit)
        full = running.amount >= call.quote.bound or running.paid >= call.quote.paid_tokens
        if not running.grows or full or ask_at / running.scale >= end:
            self._at(max(now, running.since + running.waited + end / TOKENS_PER_SECOND), self.end, index)
        else:
            at = running.since + running.waited + max(ask_at, used) / running.scale / TOKENS_PER_SECOND
            self._at(max(now, at), self.grow, index)

    def grow(self, index: int, now: float) -> None:
        call, running = self.calls[index], self.running[index]
        used = (now - running.since - running.waited) * TOKENS_PER_SECOND * running.scale
        target = expected_cost(call.quote, running.input_tokens, running.paid + max(running.paid, MIN_STEP_TOKENS))
        wanted = min(target, call.quote.bound) - running.amount
        granted = self._extend(running, wanted)
        self._count(extensions=1)
        before, running.paid = running.paid, paid_output(call.quote, running.input_tokens, running.amount)
        if granted == wanted or used < before * 0.99:
            half = running.paid / 2 if granted == wanted else (used + running.paid) / 2
            self._next(index, min(math.ceil(half), running.paid), used, now)
        elif granted:
            self._next(index, running.paid, used, now)
        elif running.scale != 1:
            running.scale = 1.0  # counted
            self._next(index, running.paid, used / ESTIMATE, now)
        elif self.held > running.amount and running.waited < WAIT_SECONDS:
            running.waited += RETRY_SECONDS
            self._at(now + RETRY_SECONDS, self.grow, index)
        else:
            self._settle(index, running.paid, now, cut=True)

    def _extend(self, running: Running, wanted: int) -> int:
        granted = max(0, min(wanted, self.balance - self.held))
        running.amount += granted
        self.held += granted
        return granted

    def end(self, index: int, now: float) -> None:
        call, running = self.calls[index], self.running[index]
        output = min(call.output, running.limit)
        if running.grows:
            self._extend(running, max(0, call_charge(PRICE, TokenUsage(call.input, output)) - running.amount))
        self._settle(index, output, now, cut=output < call.output)

    def _settle(self, index: int, output: int, now: float, *, cut: bool) -> None:
        call, running = self.calls[index], self.running.pop(index)
        cost = call_charge(PRICE, TokenUsage(call.input, output))
        self.held -= running.amount
        charged = min(cost, self.balance - self.held, running.amount + overrun_margin(running.amount))
        self.balance -= charged
        self.seconds = now
        self._count(held=running.amount, charged=charged, overrun=cost - charged, **{"cut" if cut else "served": 1})

    def _count(self, **counts: int) -> None:
        self.counts.update(counts)

    def _at(self, when: float, act: Callable[[int, float], None], index: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, act, index))


_NO_CALL = uuid4()


def burst(seed: int, head_room: float, known: tuple[int, int], *, elastic: bool) -> Result:
    pick = random.Random(seed)
    calls = trace(pick, BURST)
    return Burst(calls, int(sum(call.cost for call in calls) * head_room), pick, known, elastic=elastic).run()


def compare(seeds: int) -> None:
    known = known_outputs()
    print(
        "| head room | holds | served | refused | cut | held ÷ charged | overrun, % of charged | extensions | waits | seconds |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for head_room in (1.02, 1.1, 1.5, 3, 10, 100):
        for elastic in (False, True):
            found = [burst(seed, head_room, known, elastic=elastic) for seed in range(seeds)]
            mean = [statistics.mean(values) for values in zip(*found, strict=True)]
            served, refused, cut, held, charged, overrun, extensions, waits, seconds = mean
            print(
                f"| {head_room} | {'elastic' if elastic else 'full'} | {served:.1f} of {BURST} | {refused:.1f} | {cut:.1f}"
                f" | {held / max(charged, 1):.2f} | {100 * overrun / max(charged, 1):.2f} | {extensions:.0f} | {waits:.0f}"
                f" | {seconds:.0f} |",
                flush=True,
            )


def many(number: int) -> None:
    total, began = Counter[str](), time.monotonic()
    bursts = -(-number // BURST)
    with ProcessPoolExecutor() as pool:
        for found in pool.map(_totals, range(0, bursts, SEEDS_PER_TASK), repeat(bursts)):
            total.update(found)
    print(f"{bursts * BURST:,} calls in {time.monotonic() - began:.0f} s, on {bursts:,} pools; overdraft: 0")
    print(", ".join(f"{name} {value:,}" for name, value in total.items()))
    charged = total["charged"]
    print(f"held ÷ charged: {total['held'] / charged:.2f}; overrun: {100 * total['overrun'] / charged:.3f} % of it")


def _totals(first: int, end: int) -> dict[str, int]:
    """Return the sums of the bursts from `first` on, up to `SEEDS_PER_TASK` of them."""
    known, total = known_outputs(), Counter[str]()
    for seed in range(first, min(first + SEEDS_PER_TASK, end)):
        found = burst(seed, (1.02, 1.1, 1.3, 2, 5)[seed % 5], known, elastic=True)
        total.update({name: value for name, value in found._asdict().items() if name != "seconds"})
    return total


# --- against a real edge

LIVE_PRICES = {"input": 3_000, "output": 15_000, "minimum": 10}
LIVE_OUTPUT, LIVE_LIMIT = 300, 32_000
PARAGRAPH = "The agent reads the file, changes one function, runs the tests and reports what failed. " * 20
MAX_RETRIES = 20


class Outcome(NamedTuple):
    status: int
    tries: int
    finish: str


def live(agents: int, paid_calls: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="elastic-holds-"))
    redis, upstream = RedisServer("valkey", folder), Upstream()
    upstream.default = _answer
    url = f"sqlite:///{folder / 'yout.db'}"
    edge: WebProcess | None = None
    try:
        from shared.core.schema_version import migrate

        with opened(url) as target:
            migrate(target)
            bind_database(target)
            factories.model("agent", factories.channel(upstream.url), max_output_tokens=LIVE_LIMIT, **LIVE_PRICES)
            rich = factories.api_key(factories.account(10**9))[1]
            settings = {"database_url": url, "redis_url": redis.url, "data_dir": folder}
            edge = start_edge(folder, environment_of(settings))
            base = f"{edge.url}/v1/chat/completions"
            for index in range(20):  # fills the histogram of the edge
                warm = _agent(base, rich, index)
                assert warm.status == 200, warm
            cost = -int(LedgerEntry.select().where(LedgerEntry.kind == "charge").order_by(LedgerEntry.amount).get().amount)
            owner = factories.account(paid_calls * cost)
            secret = factories.api_key(owner)[1]
            print(f"a call costs up to {cost:,} credits, the pool has {owner.balance:,}")
            peak, done = [0.0], threading.Event()
            watcher = threading.Thread(target=_watch, args=(owner.id, peak, done))
            watcher.start()
            began = time.monotonic()
            with ThreadPoolExecutor(agents) as pool:
                outcomes = list(pool.map(lambda index: _agent(base, secret, index), range(agents)))
            seconds = time.monotonic() - began
            done.set()
            watcher.join()
            row = Account.get_by_id(owner.id)
            eventually(lambda: Account.get_by_id(owner.id).held == 0, "all holds are closed")
            overrun = sum(call.overrun_credits for call in UsageLedger.select().where(UsageLedger.account == owner.id))
            served = sum(outcome.status == 200 and outcome.finish == "stop" for outcome in outcomes)
            print(
                f"served {served} of {agents}, cut {sum(outcome.finish == 'length' for outcome in outcomes)}, in {seconds:.1f} s"
            )
            print(f"tries: {sum(outcome.tries for outcome in outcomes)}, at most {max(outcome.tries for outcome in outcomes)}")
            print(
                f"balance {row.balance:,} of {owner.balance:,}, overrun {overrun:,}, most held at once {peak[0]:.0%} of the pool"
            )
            problems = verify_ledger(now_ms()).problems
            print(f"ledger: {len(problems)} problems")
            return 0 if served == agents and not problems else 1
    finally:
        if edge is not None:
            edge.kill()
        upstream.close()
        redis.kill()


def _watch(account: UUID, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.05):
        row = Account.get_by_id(account)
        assert 0 <= row.held <= row.balance
        peak[0] = max(peak[0], row.held / max(row.balance, 1))


def _agent(url: str, secret: str, index: int) -> Outcome:
    """Make one call as the official SDKs do: repeat 429 and 5xx after `retry-after-ms`, unless `x-should-retry` is false."""
    pick = random.Random(index)
    body = {
        "model": "agent",
        "stream": index % 5 != 0,
        "messages": [{"role": "user", "content": PARAGRAPH * 5 + f" Task {index}."}],
    }
    tries = 0
    with httpx.Client(timeout=120) as client:
        while True:
            tries += 1
            answer = client.post(url, json=body, headers={"authorization": f"Bearer {secret}"})
            again = answer.status_code == 429 or answer.status_code >= 500
            if not again or answer.headers.get("x-should-retry") == "false" or tries > MAX_RETRIES:
                break
            time.sleep(float(answer.headers.get("retry-after-ms", 500 * pick.random())) / 1000)
    if answer.status_code != 200:
        return Outcome(answer.status_code, tries, answer.json()["error"]["code"])
    if not body["stream"]:
        return Outcome(200, tries, answer.json()["choices"][0]["finish_reason"])
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    reasons = [choice["finish_reason"] for event in events for choice in event.get("choices", ()) if choice["finish_reason"]]
    return Outcome(200, tries, reasons[-1] if reasons else "error")


def _answer(request: Request) -> ScriptedResponse:
    """Answer with 50 to 300 tokens over about a second."""
    output = 50 + len(request.json["messages"][0]["content"]) * 37 % (LIVE_OUTPUT - 50)
    prompt_tokens = len(json.dumps(request.json)) // 5
    if not request.json.get("stream"):
        return delayed(Pause(1.0), json_response(completion("word " * output, usage=tokens(prompt_tokens, output))))
    parts: list[Any] = [role()]
    for _ in range(10):
        parts += [Pause(0.1), chunk("word " * (output // 10))]
    return stream(*parts, finish(), usage_chunk(prompt_tokens, output), DONE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="bursts for each size of the pool")
    parser.add_argument("--calls", type=int, help="simulate this many calls and print only totals")
    parser.add_argument("--live", action="store_true", help="run agents against a real edge")
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--paid-calls", type=int, default=70, help="calls that the pool pays for")
    arguments = parser.parse_args()
    if arguments.live:
        return live(arguments.agents, arguments.paid_calls)
    if arguments.calls:
        many(arguments.calls)
    else:
        compare(arguments.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
