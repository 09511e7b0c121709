"""Names, encryption and the Redis entries of calls that may be retried."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

from edge.store.kept_answers import ENDED, KEPT, RUNNING, Entry, KeptAnswers, call_name, open_answer, seal_answer
from edge.store.limiter import Limiter
from tests.servers.redis_cluster import RedisCluster


def test_only_the_secret_of_the_key_opens_an_answer() -> None:
    call_id, answer = uuid4(), b"Tangerine zeppelins hum."
    sealed = seal_answer(b"yout-a", call_id, answer)
    assert open_answer(b"yout-a", call_id, sealed) == answer
    for secret, call, data in (
        (b"yout-b", call_id, sealed),
        (b"yout-a", uuid4(), sealed),
        (b"yout-a", call_id, sealed[:-1]),
        (b"yout-a", call_id, b""),
    ):
        assert open_answer(secret, call, data) is None


def test_names_differ_by_account_key_path_and_body() -> None:
    account = uuid4()
    values = [(account, b"k", "/a", b"x"), (account, b"l", "/a", b"x"), (account, b"k", "/b", b"x"), (account, b"k", "/a", b"y")]
    assert len({call_name(*value) for value in [*values, (uuid4(), *values[0][1:])]}) == 5


async def check_entries(url: str) -> None:
    """Entries of several accounts are stored, found and deleted."""
    limiter = Limiter(url, 60)
    with closing(KeptAnswers(url, limiter)) as kept:
        for _ in range(5):  # on a cluster, on several nodes
            name, call_id = call_name(uuid4(), b"k", "/a", b"x"), uuid4()
            assert await kept.find(name) == (None, False)
            for entry in (Entry(RUNNING, False, call_id), Entry(KEPT, False, call_id, b"\x00\xff" * 9)):
                assert await kept.put(name, entry)
                assert await kept.get(name) == entry
            await kept.count_refusal(name)
            assert await kept.find(name) == (entry, True)
            assert await kept.find(name) == (entry, False)  # each error explains one retry
            await kept.count_refusal(name)
            gone = Entry(ENDED, True, call_id)
            await kept.put(name, gone)
            assert await kept.find(name) == (gone, False)  # the disconnect explains it
            await kept.drop(name)
            assert await kept.get(name) is None
    await limiter.close()


async def test_entries_are_found(redis_url: str) -> None:
    await check_entries(redis_url)


async def test_entries_are_found_on_a_cluster(redis_cluster: RedisCluster) -> None:
    await check_entries(redis_cluster.url)


async def test_nothing_is_found_without_redis(unused_tcp_port: int) -> None:
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    with closing(KeptAnswers(url, Limiter(url, 60))) as kept:
        name = call_name(uuid4(), b"k", "/a", b"x")
        assert not await kept.put(name, Entry(RUNNING, False, uuid4()))
        assert await kept.find(name) == (None, False)
