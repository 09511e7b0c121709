"""When the fast connection is installed, and when Hypercorn is left unchanged."""

import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import hypercorn.asyncio.run as hypercorn_run
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext

from transport.fast_hypercorn import Limits, install
from transport.fast_hypercorn.bounded_hypercorn import BoundedTCPServer
from transport.fast_hypercorn.request_cycle import RequestCycle
from transport.fast_hypercorn.selfcheck import check_round_trip


@pytest.fixture(autouse=True)
def _restored() -> Any:
    yield
    install(enabled=False)


def is_stock() -> bool:
    return hypercorn_run.TCPServer is TCPServer and hypercorn_run.WorkerContext is WorkerContext


def is_bounded() -> bool:
    return hypercorn_run.TCPServer is BoundedTCPServer and hypercorn_run.WorkerContext is WorkerContext


def test_install_and_uninstall() -> None:
    assert install() is True
    assert not is_bounded()
    assert install() is True  # installing twice does no harm
    assert install(enabled=False) is False
    assert is_bounded()


async def test_install_inside_a_running_loop() -> None:
    assert install() is True


def test_an_unknown_version_is_left_unchanged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.19.0")
    assert install() is False
    assert is_stock()
    assert "supports Hypercorn 0.18.x, but 0.19.0 is installed" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_modified_tcp_server_is_left_unchanged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(TCPServer, "__init__", lambda self, other: None)
    assert install() is False
    assert "TCPServer takes" in caplog.text


def test_a_modified_worker_is_left_unchanged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def worker_serve() -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(hypercorn_run, "worker_serve", worker_serve)
    assert install() is False
    assert "no longer uses ['TCPServer', 'WorkerContext']" in caplog.text


def test_a_failed_self_check_falls_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(RequestCycle, "_frame", lambda self, answer, body, more: b"")
    assert install() is False
    assert is_bounded()
    assert "unexpected responses" in caplog.text
    monkeypatch.undo()
    check_round_trip()


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match=r"Limits\.head_bytes must be positive, not 0"):
        Limits(head_bytes=0)


def _certificate(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    key_format, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, key_format, plain))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_tls_is_handled_by_hypercorn(start_fast: Any, echo: Any, tmp_path: Path, protocol: str) -> None:
    certfile, keyfile = _certificate(tmp_path)
    server = start_fast(echo, certfile=certfile, keyfile=keyfile)
    context = ssl.create_default_context(cafile=certfile)
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as wire,
    ):
        assert wire.selected_alpn_protocol() == protocol
        if protocol == "http/1.1":
            wire.sendall(b"GET /tls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: wire.recv(4096), b""))
            assert received.endswith(b"GET /tls ")
        else:
            wire.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            assert wire.recv(9)[3] == 4  # a SETTINGS frame


_PROGRAM = """
from transport.fast_hypercorn import install
active = install()

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fast" if active else b"stock"})
"""


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop"])
def test_worker_processes_of_the_command_line(tmp_path: Path, worker_class: str) -> None:
    """`hypercorn --workers 2`: workers import the application and thereby install the fast connection."""
    (tmp_path / "served.py").write_text(_PROGRAM)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    command = [sys.executable, "-m", "hypercorn", "--workers", "2", "--worker-class", worker_class]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [*command, "--bind", f"fd://{listener.fileno()}", str(tmp_path / "served.py") + ":app"],
        pass_fds=[listener.fileno()],
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as wire:
            wire.settimeout(30)
            wire.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: wire.recv(4096), b""))
    finally:
        process.terminate()
        process.wait(30)
        listener.close()
    assert received.endswith(b"\r\n\r\nfast")
