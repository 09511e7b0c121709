"""Dramatiq's broker on RabbitMQ, with quorum queues and a deadline for every command.

A connection of pika belongs to one thread, answers heartbeats only while that thread uses it, and waits for a confirmation as
long as the server keeps the connection. So one thread per broker sends the commands of all others and answers heartbeats in
between, and the others wait for it with a timeout. Consumers have their own connections, which they read all the time.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import DEAD_MESSAGE_TTL, RabbitmqBroker, _RabbitmqConsumer
from dramatiq.common import xq_name
from dramatiq.errors import BrokerConnectionError, ConnectionClosed
from dramatiq.middleware import Middleware
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from shared.core.availability import RABBITMQ
from shared.core.broker_url import BrokerAddress, parse_broker_url

T = TypeVar("T")
_Commands: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]"

CONNECT_SECONDS = 2
ANSWER_SECONDS = 4.0  # for one command, including the connection if there is none
HEARTBEAT_SECONDS = 10  # a server that is silent for a little longer is considered dead
IDLE_SECONDS = 2.0  # between two answers to heartbeats
_QUORUM = {"x-queue-type": "quorum"}
_ACCESS_REFUSED, _PRECONDITION_FAILED, _NOT_ALLOWED = 403, 406, 530  # AMQP 0-9-1, "Reply codes"


class QuorumBroker(RabbitmqBroker):
    """A broker whose queues are quorum queues. Thread-safe; connects at first use.

    Commands raise Dramatiq's `ConnectionClosed` if RabbitMQ did not confirm them within `seconds`. They fail at once while an
    earlier command still waits for a server that does not respond.
    """

    def __init__(self, url: str, middleware: Sequence[Middleware] = (), *, seconds: float = ANSWER_SECONDS) -> None:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs each failed step of an outage, which is reported here
        super().__init__(confirm_delivery=True, middleware=list(middleware), **_parameters(parse_broker_url(url)))
        self._seconds = seconds
        self._commands: _Commands = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None

    @property
    def consumer_class(self) -> type[_Consumer]:
        return _Consumer

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Send a message, to be processed after `delay` milliseconds. Returns when RabbitMQ has stored it."""
        return self._run(partial(super().enqueue, message, delay=delay))

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> dramatiq.Consumer:
        began = time.monotonic()
        try:
            return super().consume(queue_name, prefetch, timeout)
        except (BrokerConnectionError, AMQPError, OSError) as error:
            RABBITMQ.failed(describe(error), began)
            raise _closed(error) from None

    def ping(self) -> None:
        """Make one round trip."""
        self._run(lambda: self.channel.basic_qos(prefetch_count=0))

    def declare_queues(self, names: Sequence[str]) -> None:
        """Create the queues that do not exist, with those for delayed and dead messages."""
        for name in names:
            self.declare_queue(name, ensure=True)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return the number of messages that are ready, delayed and dead, without those that a worker has received."""
        return self._run(partial(super().get_queue_message_counts, queue_name))

    def check_publishing(self) -> None:
        """Send messages to a temporary queue. Raises `ConnectionClosed`."""

        def publish() -> None:
            queue = self.channel.queue_declare("", exclusive=True).method.queue
            for _ in range(2):  # a server that is low on memory or disk blocks a connection after its first message
                self.channel.basic_publish("", queue, b"", mandatory=True)

        self._run(publish)

    def close(self) -> None:
        """Close the connection, if open. Waits for it briefly."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            waits = self._busy_since is not None  # for a server that does not respond
            self._commands.put(None)
            thread.join(0 if waits else CONNECT_SECONDS)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), **_QUORUM}  # type: ignore[no-untyped-call]  # untyped in dramatiq

    def _declare_xq_queue(self, queue_name: str) -> Any:
        arguments = {"x-message-ttl": DEAD_MESSAGE_TTL, **_QUORUM}
        return self.channel.queue_declare(queue=xq_name(queue_name), durable=True, arguments=arguments)

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        if canonical_queue_name in self.queues_pending:
            self._run(partial(super()._ensure_queue, canonical_queue_name))

    def _run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread that has the connection, and return its result. Raises `ConnectionClosed`."""
        if getattr(self.state, "owns_connection", False):
            return work()
        began = time.monotonic()
        future: Future[T] = Future()
        busy_since = self._busy_since
        try:
            if busy_since is not None and began - busy_since > self._seconds:
                raise TimeoutError
            self._submit(work, future)
            result = future.result(self._seconds)
        except (TimeoutError, ConnectionClosed) as error:
            future.cancel()  # unless it has been started
            RABBITMQ.failed(describe(error), began)
            raise error if isinstance(error, ConnectionClosed) else _closed(error) from None
        if not RABBITMQ.is_available:
            RABBITMQ.succeeded(began)
        return result

    def _submit(self, work: Callable[[], T], future: Future[T]) -> None:
        with self._lock:
            if self._thread is None:
                self._commands = SimpleQueue()
                self._thread = threading.Thread(target=self._serve, args=(self._commands,), name="rabbitmq", daemon=True)
                self._thread.start()
            self._commands.put((work, future))

    def _serve(self, commands: _Commands) -> None:
        """Run commands until `close`, and answer heartbeats while there are none."""
        self.state.owns_connection = True
        while True:
            try:
                command = commands.get(timeout=IDLE_SECONDS)
            except Empty:
                command = (self._answer_heartbeats, Future())
            if command is None:
                del self.connection
                return
            work, future = command
            self._busy_since = time.monotonic()
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(work())
            except BrokerConnectionError as error:
                future.set_exception(error)
            except Exception as error:  # pika raises many kinds; the waiting thread must get each of them
                del self.connection
                future.set_exception(_closed(error))
            finally:
                self._busy_since = None

    def _answer_heartbeats(self) -> None:
        connection = getattr(self.state, "connection", None)
        if connection is not None:
            connection.process_data_events(time_limit=0)


def _closed(error: BaseException) -> ConnectionClosed:
    return ConnectionClosed(error)  # type: ignore[no-untyped-call]  # untyped in dramatiq


class _Consumer(_RabbitmqConsumer):
    """A consumer that reports outages."""

    def __next__(self) -> dramatiq.MessageProxy | None:
        began = time.monotonic()
        try:
            message: dramatiq.MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]  # untyped in dramatiq
        except ConnectionClosed as error:
            RABBITMQ.failed(describe(error), began)
            raise
        if message is not None and not RABBITMQ.is_available:
            RABBITMQ.succeeded(began)
        return message

    def close(self) -> None:
        if self.connection.is_open:
            super().close()  # type: ignore[no-untyped-call]  # untyped in dramatiq


def _parameters(address: BrokerAddress) -> dict[str, Any]:
    """Return keyword arguments for `pika.ConnectionParameters`."""
    return {
        "host": address.host,
        "port": address.port,
        "virtual_host": address.vhost,
        "credentials": pika.PlainCredentials(address.username, address.password),
        "ssl_options": pika.SSLOptions(address.ssl_context(), address.host) if address.tls else None,
        "socket_timeout": CONNECT_SECONDS,
        "stack_timeout": CONNECT_SECONDS,
        "blocked_connection_timeout": CONNECT_SECONDS,  # while the server is low on memory or disk
        "heartbeat": HEARTBEAT_SECONDS,
        "client_properties": {"connection_name": "yout"},
    }


def root_cause(error: BaseException) -> BaseException:
    """Return the error that the wrappers of Dramatiq and pika contain."""
    while True:
        inner = getattr(error, "exception", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def describe(error: BaseException) -> str:
    """Return why a command failed, in a few words. Contains no credentials."""
    cause = root_cause(error)
    if isinstance(cause, ConnectionClosedByBroker | ChannelClosedByBroker):
        return str(cause.reply_text)
    return getattr(cause, "strerror", None) or type(cause).__name__


def is_blocked(error: BaseException) -> bool:
    """Return whether RabbitMQ accepts no messages at the moment, because it is low on memory or disk."""
    return isinstance(root_cause(error), ConnectionBlockedTimeout)


def lasting_problem(error: BaseException) -> str:
    """Return why BROKER_URL can never work, or "" for a temporary outage."""
    cause = root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not valid ({cause.verify_message}). Add its authority to the URL:"
            " ?cacertfile=/path/to/ca.pem."
        )
    code = cause.reply_code if isinstance(cause, ConnectionClosedByBroker | ChannelClosedByBroker) else 0
    if isinstance(cause, ChannelClosedByBroker):
        if code == _PRECONDITION_FAILED:
            return (
                f"the virtual host has a queue of the same name and another kind ({cause.reply_text})."
                " Use a virtual host that only Yout uses, on RabbitMQ 3.10 or newer."
            )
        return f"the user lacks a permission ({cause.reply_text})." if code == _ACCESS_REFUSED else ""
    if isinstance(cause, AuthenticationError | ProbableAuthenticationError) or code == _ACCESS_REFUSED:
        return "the server rejected the user or password."
    if isinstance(cause, ProbableAccessDeniedError) or code == _NOT_ALLOWED:
        return "the server has no such virtual host, or the user may not use it."
    return ""
