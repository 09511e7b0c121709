"""The ports of `yout up`: those that are set, otherwise the defaults or the next free ones."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from shared.core.errors import SettingsError
from shared.core.settings import Settings
from yout.supervisor.ports import Listener, choose_ports, require_free_ports


def busy(stack: ExitStack, *ports: int) -> None:
    """Listen on these ports, unless they are already in use."""
    for port in ports:
        try:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue


def test_a_port_in_use_is_skipped_and_no_port_is_assigned_twice(make_settings: Callable[..., Settings]) -> None:
    with ExitStack() as stack:
        busy(stack, 8000, 8001, 8002)
        found = choose_ports(make_settings(), frozenset())
        ports = (found.edge_port, found.console_port, found.local_port)
        assert [port % 10 for port in ports] == [0, 1, 2]
        assert all(port >= 8010 for port in ports)
        require_free_ports(Listener("it", "127.0.0.1", port, "X") for port in ports)


def test_a_configured_port_is_kept_and_not_assigned_to_another(make_settings: Callable[..., Settings]) -> None:
    with ExitStack() as stack:
        busy(stack, 8000)
        found = choose_ports(make_settings(edge_port=8000, console_port=8002), {"edge_port", "console_port"})
        assert (found.edge_port, found.console_port) == (8000, 8002)
        assert found.local_port not in (8000, 8002)
        with pytest.raises(SettingsError, match=r"Port 8000 for it is in use\. Set YOUT_EDGE_PORT to a free port"):
            require_free_ports([Listener("it", "127.0.0.1", found.edge_port, "YOUT_EDGE_PORT")])


def test_in_production_no_port_is_chosen(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(environment="production")
    with ExitStack() as stack:
        busy(stack, 8000, 8001, 8002)
        assert choose_ports(settings, frozenset()) == settings


def test_detecting_configured_fields() -> None:
    environ = {"PORT": "9000", "YOUT_LOG_LEVEL": "", "YOUT_EDGE_PORT": ""}
    assert Settings.explicit_fields(environ, dotenv=None) == {"edge_port", "console_port"}
    assert Settings.emptied_fields(environ, dotenv=None) == {"log_level"}
