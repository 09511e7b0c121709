"""RabbitMQ as the broker: startup checks, the doctor, and sending while the server fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import pytest

from shared.core.errors import SettingsError
from shared.core.settings import Settings
from shared.doctor.runner import CheckFailed
from shared.doctor.servers import check_broker
from shared.job_queue import MEDIA_QUEUE, QUEUES, JobQueue, QueueDepth, queue_depths
from shared.rabbitmq import QuorumBroker
from shared.startup import require_broker, setting_warnings
from tests.servers.process import eventually, free_port
from tests.servers.rabbitmq import PASSWORD, QUOTED, RabbitServer
from tests.threads import run_threads

MakeSettings = Callable[..., Settings]
pytestmark = pytest.mark.rabbitmq


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as refused:
        require_broker(settings)
    return str(refused.value)


@pytest.fixture
def jobs(rabbitmq: RabbitServer) -> Iterator[JobQueue]:
    made = JobQueue(rabbitmq.url)
    yield made
    made.close()


def test_messages_are_counted(rabbitmq: RabbitServer, jobs: JobQueue) -> None:
    assert queue_depths(rabbitmq.url) == [QueueDepth(name, 0, 0, 0) for name in QUEUES]
    assert jobs.is_available()
    assert all(jobs.send("make_media", "an id", queue=MEDIA_QUEUE) for _ in range(3))
    eventually(lambda: queue_depths(rabbitmq.url) == [QueueDepth("default", 0, 0, 0), QueueDepth("media", 3, 0, 0)], "the counts")


def test_sending_has_a_deadline_and_recovers(rabbitmq: RabbitServer, jobs: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert jobs.send("a", "before")
    caplog.clear()
    rabbitmq.freeze()
    sent = run_threads(lambda number: jobs.send("a", f"frozen {number}"), 8)
    assert not any(sent)
    later = [jobs.send("a", "later") for _ in range(100)]  # most fail at once: 100 deadlines would exceed the test's timeout
    assert not any(later)
    assert queue_depths(rabbitmq.url) is None
    rabbitmq.thaw()
    eventually(lambda: jobs.send("a", "after"), "it sends again")
    rabbitmq.kill()
    assert not jobs.send("a", "killed")
    assert not jobs.is_available()
    rabbitmq.restart()
    eventually(lambda: jobs.send("a", "restarted"), "it sends again")
    found = b"".join(rabbitmq.messages("default"))
    for text in (b"before", b"after", b"restarted"):
        assert text in found
    lines = [record.message for record in caplog.records if record.name == "yout.availability"]
    assert [("again" in line) for line in lines] == [False, True] * (len(lines) // 2)
    assert PASSWORD not in caplog.text
    assert QUOTED not in caplog.text


def test_an_idle_connection_stays_open(rabbitmq: RabbitServer) -> None:
    """Heartbeats are answered while nothing is sent."""
    broker = QuorumBroker(rabbitmq.url)
    broker.parameters.heartbeat = 2
    broker.ping()
    [connection] = broker.connections
    time.sleep(8)  # RabbitMQ closes a connection that is silent for two or three heartbeats
    broker.ping()
    assert broker.connections == {connection}
    broker.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"login": "yout:wrong"}, "rejected the user or password"),
        ({"vhost": "other"}, "no such virtual host"),
        ({"scheme": "amqps"}, "certificate is not valid"),
    ],
)
def test_a_wrong_url_is_explained(
    make_settings: MakeSettings, rabbitmq: RabbitServer, changed: dict[str, str], words: str
) -> None:
    line = refusal(make_settings(broker_url=rabbitmq.url_with(**changed)))
    assert line.startswith("BROKER_URL: ")
    assert words in line
    assert QUOTED not in line


def test_the_wrong_scheme_is_explained(make_settings: MakeSettings, rabbitmq: RabbitServer) -> None:
    plain, tls = rabbitmq.url, rabbitmq.url_with(scheme="amqps")
    ports = str(rabbitmq.port), str(rabbitmq.tls_port)
    assert "does not use TLS" in refusal(make_settings(broker_url=tls.replace(*reversed(ports))))
    assert "uses TLS on this port; use amqps://" in refusal(make_settings(broker_url=plain.replace(*ports)))


def test_tls(make_settings: MakeSettings, rabbitmq: RabbitServer) -> None:
    for options in (f"?cacertfile={rabbitmq.ca_file}", "?verify=verify_none"):
        settings = make_settings(broker_url=rabbitmq.url_with(options, scheme="amqps"))
        require_broker(settings)
        assert check_broker(settings) == ""
        jobs = JobQueue(settings.broker_url)
        assert jobs.send("a")
        jobs.close()


def test_queues_of_another_application_are_noticed(make_settings: MakeSettings, rabbitmq: RabbitServer) -> None:
    with rabbitmq.connect() as connection:
        connection.channel().queue_declare("default", durable=True)
    assert "Use a virtual host that only Yout uses" in refusal(make_settings(broker_url=rabbitmq.url))


def test_an_unreachable_server_does_not_prevent_startup(make_settings: MakeSettings) -> None:
    settings = make_settings(broker_url=f"amqp://yout:{QUOTED}@127.0.0.1:{free_port()}/yout")
    require_broker(settings)
    with pytest.raises(CheckFailed, match=r"RabbitMQ of BROKER_URL is unavailable: Connection refused\. Check its address"):
        check_broker(settings)


def test_the_doctor_notices_that_no_message_is_accepted(make_settings: MakeSettings, rabbitmq: RabbitServer) -> None:
    settings = make_settings(broker_url=rabbitmq.url)
    assert check_broker(settings) == ""
    rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(CheckFailed, match="low on memory or disk"):
            check_broker(settings)
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")


def test_ignored_options_are_named(make_settings: MakeSettings) -> None:
    lines = setting_warnings(make_settings(broker_url="amqp://mq?heartbeat=5"))
    assert "BROKER_URL has the option 'heartbeat', which is ignored." in lines
