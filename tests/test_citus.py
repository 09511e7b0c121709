"""The money tests on a real Citus cluster: statements, batches of two shards, and the loss of a shard in the middle of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import peewee
import pytest

from shared import ledger
from shared.core.clock import now_ms
from shared.core.database import bind_database, database
from shared.core.settings import Settings
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.operations.plans import create_plan
from shared.operations.subscriptions import set_overage, subscribe
from tests import factories
from tests import test_distribution as paths
from tests.databases import opened
from tests.distribution import ACCOUNT_COLUMNS
from tests.factories import ORIGIN
from tests.servers.citus import Citus, Node

pytestmark = pytest.mark.citus


@pytest.fixture
def bound_citus(citus_url: str) -> Iterator[peewee.Database]:
    with opened(citus_url) as target:
        bind_database(target)
        yield target
        database.initialize(None)


def customer_on(citus: Citus, url: str, node: Node) -> paths.Customer:
    while True:
        made = paths.Customer()
        if citus.node_of(url, made.id) is node:
            return made


def test_every_table_is_placed_as_documented(bound_citus: peewee.Database) -> None:
    rows = bound_citus.execute_sql("SELECT table_name::text, distribution_column, colocation_id FROM citus_tables").fetchall()
    distributed = {table: (column, place) for table, column, place in rows if column != "<none>"}
    assert {table: column for table, (column, _) in distributed.items()} == ACCOUNT_COLUMNS
    assert len({place for _, place in distributed.values()}) == 1


def test_every_path_runs_on_accounts_of_one_shard(
    citus: Citus, citus_url: str, bound_citus: peewee.Database, make_settings: Callable[..., Settings]
) -> None:
    factories.model("free", is_free=True)
    create_plan("small", {"monthly_credits": 50, "overage_allowed": True, "stores_content": True}, origin=ORIGIN)
    create_plan("large", {"monthly_credits": 90, "overage_allowed": True}, origin=ORIGIN)
    now, node = now_ms(), citus.node_of(citus_url, POOL_ACCOUNT_ID)
    customers = [customer_on(citus, citus_url, node) for _ in range(2)]
    for customer in customers:
        subscribe(customer.id, "small", origin=ORIGIN)
        set_overage(customer.id, 500, origin=ORIGIN)
    ledger.renew_pool(paths.TERMS, now)
    paths.make_calls(customers, now)
    paths.run_media(customers[0], now)
    paths.lose_holds(customers, now)
    ledger.month_spending(customers[0].id, now)
    paths.use_overage(customers, now)
    paths.post_entries(customers[0])
    paths.delete_old_calls(customers[1], now)
    paths.renew(customers)
    paths.store_and_purge(customers[0], make_settings())
    assert verify_ledger(now_ms()).problems == ()
