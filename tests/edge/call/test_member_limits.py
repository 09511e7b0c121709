"""Limits of members and keys, and the pool they share, under 200 parallel calls of two members to two edges on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import peewee
import pytest

from shared.core.clock import new_id, now_ms
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, Member, UsageLedger
from shared.operations.keys import KeyOptions, create_key
from shared.operations.members import MemberTerms, add_member
from tests import factories
from tests.edge.http_calls import Response, chat, run_concurrently
from tests.factories import ORIGIN
from tests.openai_payloads import completion, tokens
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import json_response

CALLS = 200
PRICE = 1_000  # of one call to "fixed"


class Key(NamedTuple):
    """A key, the limit of its own, and its member's limit."""

    secret: str
    id: Any
    limit: int | None
    member: Member


class Team(NamedTuple):
    """An account with two members, each with two keys."""

    account: Account
    keys: list[Key]
    edges: list[WebProcess]
    upstream: Upstream

    def call(self, number: int, model: str, **fields: Any) -> Response:
        """Make call `number`: with each key as often, on both edges."""
        key, edge = self.keys[number % 4], self.edges[number // 4 % 2]
        return chat(edge, key.secret, model=model, **fields)

    def spent(self, **columns: Any) -> int:
        """Return the credits of the calls with these values in `UsageLedger`."""
        rows = UsageLedger.select(peewee.fn.COALESCE(peewee.fn.SUM(UsageLedger.credits), 0))
        for name, value in columns.items():
            rows = rows.where(getattr(UsageLedger, name) == value)
        return int(rows.scalar())


@pytest.fixture
def start_team(
    bound_postgres: peewee.Database,
    postgres_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: Callable[..., WebProcess],
) -> Iterator[Callable[[int], Team]]:
    """`start_team(credits)`: a team whose pool has these credits."""
    channel = factories.channel(upstream.url)
    factories.model("fixed", channel, input=0, output=0, per_call=PRICE)
    factories.model("metered", channel, input=1_000, output=2_000)
    edges = [start_edge(database_url=postgres_url, redis_url=redis_url) for _ in range(2)]

    def start(credits: int) -> Team:
        account, keys = factories.account(credits), []
        for terms, limits in (
            (MemberTerms("developer", monthly_credit_limit=60_000), (KeyOptions(), KeyOptions(monthly_credit_limit=20_000))),
            (MemberTerms("developer", daily_credit_limit=45_000), (KeyOptions(), KeyOptions(daily_credit_limit=30_000))),
        ):
            member = add_member(account.id, f"{new_id().hex}@example.com", terms, origin=ORIGIN).member
            for options in limits:
                made = create_key(account.id, "k", options, member=member.id, origin=ORIGIN)
                limit = options.monthly_credit_limit or options.daily_credit_limit
                keys.append(Key(made.secret, made.row.id, limit, member))
        return Team(account, keys, edges, upstream)

    yield start
    eventually(lambda: not Account.select().where(Account.held > 0).exists(), "holds are released")
    assert verify_ledger(now_ms()).problems == ()


def check_limits(team: Team, credits: int) -> None:
    """Neither a key, nor a member, nor the pool has spent one credit too many, and the ledger has what the calls cost."""
    for key in team.keys:
        assert key.limit is None or team.spent(api_key=key.id) <= key.limit
        assert team.spent(member=key.member.id) <= (key.member.monthly_credit_limit or key.member.daily_credit_limit)
    charged = -sum(entry.amount for entry in LedgerEntry.select().where(LedgerEntry.kind == "charge"))
    assert Account.get_by_id(team.account.id).balance == credits - charged >= 0
    assert team.spent() == charged


@pytest.mark.parametrize(("credits", "paid"), [(200_000, 105), (80_000, 80)], ids=["the members' limits", "the pool"])
def test_parallel_calls_spend_a_limit_to_the_last_credit(start_team: Callable[[int], Team], credits: int, paid: int) -> None:
    team = start_team(credits)
    answers = run_concurrently(CALLS, lambda number: team.call(number, "fixed"))
    assert {answer.status for answer in answers} <= {200, 402, 429}
    assert {answer.code for answer in answers if answer.status != 200} <= {"insufficient_credits", "credits_held"}
    assert len([answer for answer in answers if answer.status == 200]) == len(team.upstream.calls) == paid
    check_limits(team, credits)
    if credits == 200_000:
        assert [team.spent(member=key.member.id) for key in team.keys[::2]] == [60_000, 45_000]
    for number in range(4):  # afterwards, each key is refused for good
        refused = team.call(number, "fixed")
        assert (refused.status, refused.code) == (402, "insufficient_credits")


def test_parallel_calls_that_cost_more_than_they_held_stay_within_every_limit(start_team: Callable[[int], Team]) -> None:
    team, chance = start_team(90_000), random.Random(1)
    team.upstream.default = lambda _: json_response(completion(usage=tokens(20, chance.randrange(1, 900))))
    answers = run_concurrently(CALLS, lambda number: team.call(number, "metered", max_tokens=500))
    assert {answer.status for answer in answers} <= {200, 402, 429}
    assert any(answer.status == 200 for answer in answers)
    check_limits(team, 90_000)
