"""The money tests on a database that is distributed by account: statements, batches, and the loss of a shard under load."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import peewee
import psycopg
import pytest
from peewee import fn

from edge.store.database_reader import DatabaseReader
from edge.store.ledger_batcher import LedgerBatcher
from edge.store.metrics import Metrics
from edge.store.sharded_ledger import ShardedLedger
from shared import ledger
from shared.core.clock import now_ms
from shared.core.database import bind_database, database
from shared.core.database_errors import ErrorKind, classify_error
from shared.core.settings import Settings
from shared.ledger import VISITORS_DISABLED, Settlement, sweep
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, Allowance, ApiKey, LedgerEntry, Member, Person
from shared.operations import web_accounts
from shared.operations.accounts import create_account, set_account_status
from shared.operations.keys import revoke_key
from shared.operations.plans import create_plan
from shared.operations.subscriptions import set_overage, subscribe
from shared.rollup import month_spending
from tests import factories
from tests import test_distribution as paths
from tests.conftest import StartWeb
from tests.databases import opened
from tests.distribution import ACCOUNT_COLUMNS
from tests.edge.http_calls import Stream, chat
from tests.edge.store.test_database_outage import readiness
from tests.factories import ORIGIN
from tests.ledger_storm import Payer, storm
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import SECRET_KEY
from tests.servers.process import eventually
from tests.servers.shards import SCRIPT, Citus, Cluster, Node
from tests.threads import run_threads
from tests.upstream import Upstream
from tests.upstream_responses import Gate, stream
from tests.yout.command import Installation

HOUR_MS = 3_600_000
MONTHLY_LIMIT = 1_000  # of a customer's limited key
REFUSAL = "could not run distributed query with FOR UPDATE/SHARE commands"
Customers = dict[Node, list[paths.Customer]]  # two on each node

pytestmark = pytest.mark.cluster


@pytest.fixture
def bound_cluster(cluster_url: str) -> Iterator[peewee.Database]:
    with opened(cluster_url) as target:
        bind_database(target)
        yield target
        database.initialize(None)


def customer_on(cluster: Cluster, url: str, node: Node, credits: int = 100_000) -> paths.Customer:
    while True:
        made = paths.Customer(credits)
        if cluster.node_of(url, made.id) is node:
            return made


@pytest.fixture
def customers(cluster: Cluster, cluster_url: str, bound_cluster: peewee.Database) -> Customers:
    factories.model("free", is_free=True)
    return {node: [customer_on(cluster, cluster_url, node) for _ in range(2)] for node in cluster.nodes}


on_citus = pytest.mark.parametrize("cluster", ["citus"], indirect=True)


@on_citus
def test_every_table_is_placed_as_documented(bound_cluster: peewee.Database) -> None:
    rows = bound_cluster.execute_sql(
        "SELECT relname::text, distribution_column, colocation_id FROM citus_tables JOIN pg_class ON oid = table_name"
        " WHERE NOT relispartition"
    )
    distributed = {table: (column, place) for table, column, place in rows.fetchall() if column != "<none>"}
    assert {table: column for table, (column, _) in distributed.items()} == ACCOUNT_COLUMNS
    assert len({place for _, place in distributed.values()}) == 1


@on_citus
def test_the_script_places_new_tables_and_leaves_others_alone(cluster: Cluster, cluster_url: str, bound_cluster: Any) -> None:
    def places() -> list[Any]:
        sql = "SELECT table_name::text, citus_table_type, distribution_column, colocation_id FROM citus_tables ORDER BY 1"
        keys = "SELECT conrelid::regclass::text, conname::text FROM pg_constraint WHERE contype IN ('f', 'p') ORDER BY 1, 2"
        tables, constraints = (bound_cluster.execute_sql(query).fetchall() for query in (sql, keys))
        return [tables, [row for row in constraints if not re.search(r"_\d+$", row[0])]]  # without the shard of a reference table

    placed = places()
    bound_cluster.execute_sql("SELECT undistribute_table('invitation')")  # as a migration creates it, with a foreign key
    bound_cluster.execute_sql("ALTER TABLE invitation ADD FOREIGN KEY (account_id) REFERENCES account")
    assert "invitation" not in {name for name, kind, *_ in places()[0] if kind == "reference"}
    for _ in range(2):
        with psycopg.connect(cluster_url, autocommit=True) as connection:
            connection.execute(SCRIPT.read_bytes())
        again = places()
        assert [[row[:3] for row in rows] for rows in again] == [[row[:3] for row in rows] for rows in placed]


@on_citus
def test_sign_ups_with_one_address_at_the_same_time_are_one_person(
    bound_cluster: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_checked = threading.Barrier(2)

    def create(*args: Any, **options: Any) -> Account:
        both_have_checked.wait(20)
        return create_account(*args, **options)

    monkeypatch.setattr(web_accounts, "create_account", create)
    accounts = run_threads(lambda number: web_accounts.sign_up("a@example.com", f"hash {number}", 0).id, 2)
    [person] = Person.select()
    owners = Member.select(Member.account, Member.person).where(Member.role == "owner")
    assert set(owners.tuples()) == {(account, person.id) for account in accounts}


def test_every_path_runs_on_accounts_of_one_shard(
    cluster: Cluster, cluster_url: str, bound_cluster: peewee.Database, make_settings: Callable[..., Settings]
) -> None:
    factories.model("free", is_free=True)
    create_plan("small", {"monthly_credits": 50, "overage_allowed": True, "stores_content": True}, origin=ORIGIN)
    create_plan("large", {"monthly_credits": 90, "overage_allowed": True}, origin=ORIGIN)
    now, node = now_ms(), cluster.node_of(cluster_url, POOL_ACCOUNT_ID)
    customers = [customer_on(cluster, cluster_url, node, paths.CREDITS) for _ in range(2)]
    for customer in customers:
        subscribe(customer.id, "small", origin=ORIGIN)
        set_overage(customer.id, 500, origin=ORIGIN)
    ledger.renew_pool(paths.TERMS, now)
    paths.make_calls(customers, now)
    paths.run_media(customers[0], now)
    paths.lose_holds(customers, now)
    month_spending(customers[0].id, now)
    paths.use_overage(customers, now)
    paths.post_entries(customers[0])
    paths.delete_old_calls(customers[1], now)
    paths.renew(customers)
    paths.store_and_purge(customers[0], make_settings())
    with pytest.raises(peewee.IntegrityError, match="cannot be changed"):
        LedgerEntry.update(amount=1).where(LedgerEntry.account == customers[1].id).execute()
    assert verify_ledger(now_ms()).problems == ()


# Batches


@on_citus
async def test_a_batch_of_two_shards_is_refused_and_committed_by_account(cluster: Cluster, customers: Customers) -> None:
    batcher = LedgerBatcher()
    await charge_all(batcher, customers)
    await batcher.close(10)
    assert cluster.coordinator.log().count(REFUSAL) > 0


async def test_batches_by_shard_are_not_refused(cluster: Cluster, customers: Customers) -> None:
    refused = cluster.coordinator.log().count(REFUSAL)
    reader = DatabaseReader("reader")
    sharded = ShardedLedger(reader, VISITORS_DISABLED, Metrics())
    await charge_all(sharded, customers)
    await sharded.close(10)
    reader.close()
    assert cluster.coordinator.log().count(REFUSAL) == refused


async def charge_all(batcher: LedgerBatcher, customers: Customers) -> None:
    """Make calls of all customers at the same time, twice each."""
    calls = paths.Calls(now_ms())
    asks = [calls.ask(customer.keys[0], customer.id) for pair in customers.values() for customer in pair * 2]
    taken = await asyncio.gather(*map(batcher.reserve, asks))
    items = [
        Settlement(ask.call, hold.account, 10, "completed", hold.api_key, ask.model, paths.PRICE.id)
        for ask, hold in zip(asks, taken, strict=True)
    ]
    assert {settled.credits for settled in await asyncio.gather(*map(batcher.settle, items))} == {10}
    entries = LedgerEntry.select(LedgerEntry.account, fn.SUM(LedgerEntry.amount)).where(LedgerEntry.kind == "charge")
    assert {amount for _, amount in entries.group_by(LedgerEntry.account).tuples()} == {-20}
    assert verify_ledger(now_ms()).problems == ()


# Loss of a shard


def charges_of(customers: Sequence[paths.Customer]) -> int:
    accounts = [customer.id for customer in customers]
    return int(LedgerEntry.select().where(LedgerEntry.account.in_(accounts), LedgerEntry.kind == "charge").count())


def wait_for_charges(customers: Sequence[paths.Customer], more: int) -> None:
    wanted = charges_of(customers) + more
    eventually(lambda: charges_of(customers) >= wanted, f"{more} more charges", seconds=60)


def without_conflict(action: Callable[[], object]) -> None:
    """Repeat `action` after conflicts with the calls of other processes, as staff and workers do."""

    def is_done() -> bool:
        try:
            action()
        except peewee.OperationalError as error:
            if classify_error(error) is not ErrorKind.CONFLICT:
                raise
            return False
        return True

    eventually(is_done, "the action is done")


def test_two_processes_charge_every_call_once_while_a_shard_is_lost(
    cluster: Cluster, cluster_url: str, customers: Customers, tmp_path: Path
) -> None:
    (_, kept_customers), (lost, lost_customers) = customers.items()
    poor = [customer_on(cluster, cluster_url, node, credits=300) for node in customers]
    everybody = [*kept_customers, *lost_customers, *poor]
    payers = [Payer(key.digest, customer.id) for customer in everybody for key in customer.keys]
    revoked = ApiKey.get(ApiKey.digest == kept_customers[0].keys[0].digest)
    stop = tmp_path / "stop"
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        storms = [pool.submit(storm, cluster_url, payers, seed, stop) for seed in (1, 2)]
        try:
            wait_for_charges(kept_customers, 20)
            wait_for_charges(lost_customers, 20)
            without_conflict(lambda: revoke_key(revoked.id, origin=ORIGIN))
            without_conflict(lambda: sweep(now_ms()))
            lost.crash()
            began = time.time()
            wait_for_charges(kept_customers, 40)
            ended = time.time()
            lost.restart()
            wait_for_charges(lost_customers, 20)
            without_conflict(lambda: sweep(now_ms()))
        finally:
            stop.touch()
        tallies = [running.result(timeout=180) for running in storms]
    sweep(now_ms() + 2 * HOUR_MS)
    report = verify_ledger(now_ms())
    assert (report.problems, report.open_holds) == ((), 0)
    charged = LedgerEntry.select(LedgerEntry.call, LedgerEntry.amount).where(LedgerEntry.kind == "charge")
    assert {call: -amount for call, amount in charged.tuples()} == tallies[0].charges | tallies[1].charges
    for tally in tallies:
        assert {"InvalidApiKey", "InsufficientCredits"} <= tally.refusals.keys()
        assert any(began < at < ended for customer in lost_customers for at in tally.unavailable[customer.id])
        assert any(began < at < ended for customer in kept_customers for at in tally.held[customer.id])
        if isinstance(cluster, Citus):  # postgres_fdw also refuses calls of an account that the other process has changed
            assert not [at for customer in kept_customers for at in tally.unavailable[customer.id]]
    limited = Allowance.select().where(Allowance.kind == "key")
    assert len(limited) == len(everybody)
    assert all(row.used <= row.allowed == MONTHLY_LIMIT for row in limited)


def test_edges_serve_the_other_shard_and_charge_after_the_outage(
    cluster: Cluster,
    cluster_url: str,
    customers: Customers,
    redis_url: str,
    upstream: Upstream,
    start_edge: StartWeb,
    tmp_path: Path,
) -> None:
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000, minimum=10)
    (_, kept_customers), (lost, lost_customers) = customers.items()
    (revoked, kept_secret), (_, new_secret) = (factories.api_key(customer.owner) for customer in kept_customers)
    lost_secret, new_lost_secret = (factories.api_key(customer.owner)[1] for customer in lost_customers)
    edges = [start_edge(database_url=cluster_url, redis_url=redis_url) for _ in range(2)]

    answered: list[int] = []

    def statuses(*secrets: str) -> list[int]:
        found = [chat(edge, secret).status for edge in edges for secret in secrets]
        answered.extend(found)
        return found

    assert statuses(kept_secret, lost_secret) == [200] * 4
    gate = Gate()
    upstream.script(stream(role(), chunk("Hello"), gate, finish(), usage(7, 3), DONE))
    with Stream(edges[0], lost_secret) as running:
        running.response_head()
        running.read_text("Hello")
        lost.crash()
        try:
            assert statuses(kept_secret, new_secret) == [200] * 4
            assert statuses(lost_secret, new_lost_secret) == [503] * 4
            assert [readiness(edge)[0] for edge in edges] == [200] * 2
            if isinstance(cluster, Citus):  # a change of keys needs every node
                with pytest.raises(peewee.OperationalError):
                    revoke_key(revoked.id, origin=ORIGIN)
            for account_status, answer in (("suspended", 403), ("active", 200)):
                set_account_status(kept_customers[0].id, account_status, origin=ORIGIN)
                assert statuses(kept_secret) == [answer] * 2
            gate.open()
        finally:
            lost.restart()
        assert running.remaining_events()[-1] == {"done": True}
    eventually(lambda: statuses(new_lost_secret) == [200] * 2, "the shard is back", interval=1)
    revoke_key(revoked.id, origin=ORIGIN)
    assert statuses(kept_secret) == [401] * 2
    upstream.script(*[stream(role(), chunk("Hello"), Gate())] * 2)
    with Stream(edges[1], new_secret) as first, Stream(edges[1], lost_secret) as second:
        for call in (first, second):
            call.response_head()
            call.read_text("Hello")
        edges[1].kill()
    assert sweep(now_ms() + HEARTBEAT_TIMEOUT_MS + 1_000) == 2
    done = Installation(tmp_path, DATABASE_URL=cluster_url, SECRET_KEY=SECRET_KEY).yout_process("ledger", "verify")
    assert (done.code, "everything adds up" in done.out) == (0, True), done
    charged = LedgerEntry.select(LedgerEntry.call).where(LedgerEntry.kind == "charge")
    assert len({call for (call,) in charged.tuples()}) == len(charged) == answered.count(200) + 1  # and the stream
