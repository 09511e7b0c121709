"""The cap proof: makes more calls than a pool can pay for, to every endpoint, and then accounts for every credit."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import quote

from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.models import AlertCheck
from shared.operations.audit import Origin
from shared.operations.proof_accounts import (
    ProofAccount,
    create_proof_account,
    leftover_proof_accounts,
    remove_proof_account,
)
from yout.proof.account_state import Sampler, read_account_state, wait_until_settled
from yout.proof.accounting import Call, Proof, count_sent, prove
from yout.proof.answers import answer_script, read_script
from yout.proof.load import MAX_CONCURRENT, POOL_PERCENT, Load, Planned, demand, models, plan_calls
from yout.proof.processes import ProcessFailed, ProofEdge, child_environment
from yout.proof.scripted_upstream import Answer, Received, ScriptedUpstream

EDGES = 2
MIN_CREDITS = 300
WORKER_MS = 180_000  # a worker that ran within this time is running
CATALOG_SECONDS = 30
KILL_SECONDS = (0.3, 1.5)  # between two kills, at random
STOP_SECONDS = 5  # beyond the drain of an edge


class Options(NamedTuple):
    """Options of the command. `edge` is the URL of a running edge to use; without it, two edges are started."""

    calls: int
    kill: bool = False
    edge: str | None = None
    seed: int | None = None


class RunningEdge(NamedTuple):
    """A deployed edge, which is used as it is."""

    url: str


class CapReport(NamedTuple):
    """The calls that were made, the proof, and `result`: the part of the signed report that is about this proof."""

    proof: Proof
    calls: Sequence[Call]
    result: dict[str, Any]


class LoadUpstream(ScriptedUpstream):
    """The scripted provider of the load. Counts the attempts of each call."""

    def __init__(self) -> None:
        self._attempts: Counter[int] = Counter()
        super().__init__(self._count_and_answer)

    def _count_and_answer(self, request: Received) -> Answer:
        script = read_script(request.body)
        if script is not None:
            self._attempts[script.number] += 1
        return answer_script(request, self._attempts[script.number] if script else 1)

    def sent(self) -> dict[int, Any]:
        """Return what was sent, by the number of the call."""
        scripts = [(read_script(request.body), request.words) for request in list(self.requests)]
        return count_sent((script, words) for script, words in scripts if script is not None)


def prove_cap(options: Options, settings: Settings, origin: Origin, say: Callable[[str], None]) -> CapReport:
    """Run the proof on the bound database, and remove what it created, also after Ctrl-C and errors.

    Raises `ProcessFailed`, and errors of the database and the media store.
    """
    remove_leftovers(settings, origin)
    rng = random.Random(options.seed if options.seed is not None else secrets.randbits(64))  # noqa: S311  (not a secret)
    media = worker_is_running()
    planned = plan_calls(options.calls, rng, media=media)
    credits = max(MIN_CREDITS, demand(planned) * POOL_PERCENT // 100)
    with ExitStack() as stack:
        upstream = LoadUpstream()
        stack.callback(upstream.close)
        account = stack.enter_context(temporary_account(upstream.base_url, credits, settings, origin))
        upstream.secret = account.channel_secret
        say(f"{options.calls} calls, {credits} credits, {'with' if media else 'without'} media jobs")
        edges = [] if options.edge else start_edges(stack, EDGES, settings)
        targets: Sequence[Any] = edges or [RunningEdge(str(options.edge).rstrip("/"))]
        if not edges:
            wait_for_catalog(targets[0].url, account)
        load = Load(account, targets, rng)
        killer = Killer(edges if options.kill else (), rng)
        with Sampler(account.id) as sampler:
            asyncio.run(_run_load(load, planned, killer))
        say(f"all calls have ended; the longest took {max(call.seconds for call in load.calls):.1f} s")
        load.mark_killed(killer.times)
        stop_edges(edges, settings)
        settled = wait_until_settled(account.id)
        state = read_account_state(account.id, credits)
        samples = [sampler.worst] if sampler.worst else []
        proof = prove(load.calls, upstream.sent(), state, samples)
    result = {
        "calls": len(load.calls),
        "overdraft": proof.overdraft,
        "lost": proof.lost,
        "doubled": proof.doubled,
        "granted": credits,
        "charged": proof.charged,
        "edges": len(targets),
        "kills": sum(map(len, killer.times.values())),
        "samples": sampler.samples,
        "settled": settled,
        "surfaces": summarize(load.calls),
        "problems": list(proof.problems),
    }
    return CapReport(proof, load.calls, result)


def summarize(calls: Sequence[Call]) -> dict[str, dict[str, int]]:
    """Count the calls to each endpoint by outcome."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for call in calls:
        if call.left:
            outcome = "left"
        elif call.status in (402, 429):
            outcome = "refused"
        elif call.status == 200 and call.whole and not call.failed:
            outcome = "completed"
        else:
            outcome = "failed"
        found[call.surface][outcome] += 1
    return {surface: dict(sorted(counts.items())) for surface, counts in sorted(found.items())}


def remove_leftovers(settings: Settings, origin: Origin) -> None:
    """Remove the accounts that killed commands left. Raises `StorageUnavailable`."""
    for account in leftover_proof_accounts(now_ms()):
        remove_proof_account(account, open_storage(settings), settings.secret_key, origin=origin)


@contextmanager
def temporary_account(base_url: str, credits: int, settings: Settings, origin: Origin) -> Iterator[ProofAccount]:
    """Create the account, and remove it at the end of the block. Ctrl-C cannot interrupt the removal."""
    account = create_proof_account(base_url, credits, models(), settings.secret_key, origin=origin)
    try:
        yield account
    finally:
        with uninterrupted():
            remove_proof_account(account.id, open_storage(settings), settings.secret_key, origin=origin)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore termination signals in the block, which must be short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Make SIGTERM raise `KeyboardInterrupt` in the block, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def worker_is_running() -> bool:
    """Return whether a worker ran within the last minutes, so that media jobs will be processed."""
    row = AlertCheck.get_or_none(AlertCheck.id == 1)
    return row is not None and row.checked_at > now_ms() - WORKER_MS


def start_edges(stack: ExitStack, number: int, settings: Settings) -> list[ProofEdge]:
    """Start edges, which `stack` stops, and wait until they are ready. Raises `ProcessFailed`."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yout-proof-")))
    edges: list[ProofEdge] = []
    stack.callback(lambda: stop_edges(edges, settings))
    edges += [ProofEdge(index, folder, child_environment()) for index in range(number)]
    for edge in edges:
        edge.wait_ready()
    return edges


def stop_edges(edges: Sequence[ProofEdge], settings: Settings) -> None:
    """Stop edges as a deployment does, at the same time, and unregister those that were killed."""
    threads = [threading.Thread(target=edge.stop, args=(settings.drain_seconds + STOP_SECONDS,)) for edge in edges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for edge in edges:
        edge.unregister()


def wait_for_catalog(url: str, account: ProofAccount) -> None:
    """Wait until a running edge has loaded the account's models. Raises `ProcessFailed`."""
    deadline = time.monotonic() + CATALOG_SECONDS
    model = quote(next(iter(account.models.values())))
    request = urllib.request.Request(  # noqa: S310  (the operator's own URL)
        f"{url}/v1/models/{model}", headers={"authorization": f"Bearer {account.key}"}
    )
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310  (the operator's own URL)
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.2)
    raise ProcessFailed(f"The edge at {url} does not serve the proof's models. Does it use the same database?")


class Killer:
    """Kills edges with SIGKILL at random moments, and starts them again. `times` has the kills of each edge (monotonic).

    It runs in the event loop of the main thread: a process ends with the thread that started it (`yout.supervisor.process`).
    """

    def __init__(self, edges: Sequence[ProofEdge], rng: random.Random) -> None:
        self.times: dict[int, list[float]] = defaultdict(list)
        self._edges = edges
        self._rng = random.Random(rng.random())  # noqa: S311  (not a secret)

    async def run(self) -> None:
        """Kill until cancelled, one edge at a time. Raises `ProcessFailed`."""
        while self._edges:
            await asyncio.sleep(self._rng.uniform(*KILL_SECONDS))
            number = self._rng.randrange(len(self._edges))
            edge = self._edges[number]
            edge.kill()
            self.times[number].append(time.monotonic())
            edge.unregister()
            edge.start()
            await asyncio.to_thread(edge.wait_ready)


async def _run_load(load: Load, planned: Sequence[Planned], killer: Killer) -> None:
    killing = asyncio.create_task(killer.run())
    try:
        await load.run(planned, MAX_CONCURRENT)
    finally:
        killing.cancel()
        await asyncio.wait([killing])
    if not killing.cancelled() and (error := killing.exception()) is not None:
        raise error
