"""Debian's RabbitMQ: one node with its own port mapper (epmd), as the current user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from ipaddress import ip_address
from pathlib import Path

import pika
from cryptography.x509 import IPAddress
from pika.exceptions import ChannelClosedByBroker

from shared.job_queue import QUEUES
from tests.servers.authority import Authority
from tests.servers.process import Process, dies_with_parent, free_port, start_on_free_port

_PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # Debian's /usr/sbin/rabbitmq-server switches to the user rabbitmq; these do not
COMMAND_SECONDS = 60
# Ra, which stores quorum queues, writes the names of new queues to disk after half a second (`auto_save` in ra_directory.erl).
# A queue that is younger does not survive a crash.
NEW_QUEUE_SECONDS = 1
USER, PASSWORD, QUOTED = "yout", "pa/ss@word", "pa%2Fss%40word"


def missing_rabbitmq() -> str:
    """What to install, or ""."""
    if shutil.which("rabbitmq-server", path=str(_PROGRAMS)):
        return ""
    return "RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server"


class RabbitServer:
    """An empty server with a plain port and a TLS port, and with everything that it writes in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = 0
        authority = Authority(folder)
        self.ca_file, self._certificate = authority.path, authority.certificate(IPAddress(ip_address("127.0.0.1")))
        self.tls_port, self._node_port = free_port(), free_port()
        self._epmd, self._epmd_port = start_on_free_port(self._start_epmd, lambda _, port: _listens(port))
        try:
            self.process, self.port = start_on_free_port(self._start, lambda process, _: _is_ready(process))
        except BaseException:
            self._epmd.kill()
            raise

    @property
    def url(self) -> str:
        return self.url_with()

    def url_with(self, options: str = "", *, login: str = f"{USER}:{QUOTED}", vhost: str = "yout", scheme: str = "amqp") -> str:
        port = self.tls_port if scheme == "amqps" else self.port
        return f"{scheme}://{login}@127.0.0.1:{port}/{vhost}{options}"

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def delete_queues(self) -> None:
        """Delete every queue of the broker, with its messages."""
        with self.connect() as connection:
            for name in QUEUES:
                for queue in (name, f"{name}.DQ", f"{name}.XQ"):
                    connection.channel().queue_delete(queue)

    def messages(self, queue: str) -> list[bytes]:
        """Take all messages out of a queue: `default.DQ` has delayed ones, `default.XQ` dead-lettered ones."""
        found = []
        with self.connect() as connection:
            channel = connection.channel()
            while True:
                try:
                    method, _, body = channel.basic_get(queue, auto_ack=True)
                except ChannelClosedByBroker:  # there is no such queue
                    return found
                if method is None:
                    return found
                found.append(body)

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl`."""
        argv = [str(_PROGRAMS / "rabbitmqctl"), *arguments]
        subprocess.run(argv, env=self._environment, cwd=self._folder, check=True, capture_output=True, timeout=COMMAND_SECONDS)

    def freeze(self) -> None:
        """Stop responding without closing connections, like a hung machine."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, like a crash. `restart` starts it with what it has stored."""
        time.sleep(NEW_QUEUE_SECONDS)
        self.process.kill()

    def restart(self) -> None:
        self.process.kill()
        self.process = self._start(self.port)
        self.process.wait_ready(lambda: _is_ready(self.process))

    def stop(self) -> None:
        self.process.kill()
        self._epmd.kill()

    def _start_epmd(self, port: int) -> Process:
        argv = ["epmd", "-port", str(port), "-address", "127.0.0.1"]
        return Process("epmd", dies_with_parent(argv), env=os.environ, cwd=self._folder, log=self._folder / "epmd.log")

    def _start(self, port: int) -> Process:
        self._starts += 1
        (self._folder / "rabbitmq.conf").write_text(f"""
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{self.tls_port}
ssl_options.certfile = {self._certificate}
ssl_options.keyfile = {self._certificate}
default_user = {USER}
default_pass = {PASSWORD}
default_vhost = yout
disk_free_limit.absolute = 1MB
log.file = false
log.console = true
""")
        (self._folder / "enabled_plugins").write_text("[].\n")
        log = self._folder / f"rabbitmq-{self._starts}.log"
        argv = dies_with_parent([str(_PROGRAMS / "rabbitmq-server")], "KILL")
        return Process("rabbitmq", argv, env=self._environment, cwd=self._folder, log=log)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),  # of Erlang's cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"yout{self._node_port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }


def _is_ready(process: Process) -> bool:
    return "Server startup complete" in process.output()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
