"""`yout up`: the processes it starts, its output, and that nothing keeps running however it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import redis

from shared.core.settings import PORTS_FILE, Settings
from tests.yout.command import Installation
from tests.yout.up_process import Up, alive, listening, listening_socket, new_installation, wait_until
from yout.supervisor.banner import curl_snippet, format_banner
from yout.supervisor.demo_account import DemoCredentials
from yout.supervisor.stack import demo_environment

StartUp = Callable[..., Up]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return new_installation(tmp_path)


@pytest.fixture
def start_up() -> Iterator[StartUp]:
    """`start_up(installation, worker="stubborn")`: a `yout up` that is stopped after the test."""
    started: list[Up] = []

    def start(installation: Installation, *, local_model: bool = False, **manners: str) -> Up:
        started.append(Up(installation, manners, local_model=local_model))
        return started[-1]

    yield start
    for up in started:
        up.clean_up()


def port(installation: Installation, name: str) -> int:
    return int(installation.environment[f"YOUT_{name}_PORT"])


def printed(output: str, label: str) -> list[str]:
    """The text after a label in the start banner."""
    [line] = [line for line in output.splitlines() if line.startswith(f"  {label}")]
    return line.removeprefix(f"  {label}").split()


def test_ctrl_c_stops_all_processes_in_order(installation: Installation, start_up: StartUp) -> None:
    up = start_up(installation, worker="family")
    up.wait_for("Yout is up")
    up.wait_for("web     | web speaks")  # a separate thread relays its output
    wait_until(lambda: len(up.pids()) == 4, "the stand-ins, of which two have no port to be waited for")
    assert all(alive(pid) for pid in up.pids())
    assert listening_socket(up.valkey)
    assert up.stop(signal.SIGINT) == 0
    assert up.ends() == ["worker", "web", "console"]
    assert not any(alive(pid) for pid in up.pids())
    assert not any(listening(port(installation, name)) for name in ("EDGE", "CONSOLE"))
    assert not listening_socket(up.valkey)


def test_a_second_start_reuses_the_first_ones_data(installation: Installation, start_up: StartUp) -> None:
    first = start_up(installation)
    before = first.wait_for("Ctrl-C stops it")
    first.stop(signal.SIGTERM)
    second = start_up(installation)
    after = second.wait_for("Ctrl-C stops it")
    second.stop()
    for label in ("Edge", "Pages", "Console", "Staff", "Account", "API key"):
        assert printed(after, label) == printed(before, label)
    assert printed(after, "Account") == ["demo@localhost.localdomain", "15000000", "credits"]
    assert installation.yout("ledger", "verify", "--json").data["accounts"] == 1


def test_valkey_writes_nothing_to_disk(installation: Installation, start_up: StartUp) -> None:
    """It has kept answers, which must not be on disk, not even encrypted."""
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    old_file = up.data / "valkey" / "appendonlydir" / "appendonly.aof.1.incr.aof"
    assert not old_file.parent.exists()
    sealed = os.urandom(4_096)
    with redis.Redis(unix_socket_path=str(up.valkey)) as client:
        client.set("yout:retry:{account}:digest", sealed, px=120_000)
        assert client.config_get("save") == {"save": ""}
        with pytest.raises(redis.RedisError):  # it would wait for the file, if there were one
            client.execute_command("WAITAOF", 1, 0, 1_000)
        assert sealed not in read_files(up.data)
    up.stop(signal.SIGTERM)
    assert sealed not in read_files(up.data)
    old_file.parent.mkdir()
    old_file.write_bytes(sealed)
    again = start_up(installation)
    again.wait_for("Ctrl-C stops it")
    assert sealed not in read_files(again.data)
    again.stop()


def read_files(folder: Path) -> bytes:
    """The bytes of all files below a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_key_or_password_that_no_longer_works_is_not_printed(installation: Installation, start_up: StartUp) -> None:
    first = start_up(installation)
    [key] = printed(first.wait_for("Ctrl-C stops it"), "API key")
    first.stop()
    with installation.database() as database:
        database.execute("UPDATE api_key SET revoked_at = 1")
    installation.yout("staff", "password", "staff@localhost.localdomain")
    second = start_up(installation)
    output = second.wait_for("Ctrl-C stops it")
    second.stop()
    [fresh] = printed(output, "API key")
    assert fresh.startswith("yout-")
    assert fresh != key
    assert "yout staff password" in " ".join(printed(output, "Staff"))


def test_stored_files_are_private(installation: Installation, start_up: StartUp) -> None:
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    up.stop()
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700
    for name in ("secret.key", "welcome.json"):
        assert stat.S_IMODE((up.data / name).stat().st_mode) == 0o600
    assert len((up.data / "secret.key").read_text().strip()) >= 32


def test_valkey_is_not_accessible_to_other_users(installation: Installation, start_up: StartUp) -> None:
    (installation.folder / "var" / "valkey").mkdir(parents=True, mode=0o755)  # as an earlier umask may have created it
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    assert stat.S_IMODE(up.valkey.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(up.valkey.stat().st_mode) == 0o600
    with redis.Redis(unix_socket_path=str(up.valkey)) as client:
        assert client.config_get("port") == {"port": "0"}
    assert up.stop() == 0


def test_a_data_folder_path_too_long_for_a_socket_is_explained(tmp_path: Path, start_up: StartUp) -> None:
    up = start_up(new_installation(tmp_path, YOUT_DATA_DIR=str(tmp_path / ("d" * 100))))
    assert up.wait() == 1
    [line] = up.output.splitlines()
    assert "Set YOUT_DATA_DIR to a shorter folder" in line


def test_the_settings_decide_about_visitors_and_emails(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    mails, visitors = {"YOUT_SMTP_URL": "console"}, {"YOUT_VISITOR_POOL_CREDITS": "50000"}
    assert demo_environment(settings, {"edge_port"}, local_model=True) == mails | visitors
    assert demo_environment(settings, {"visitor_pool_credits"}, local_model=True) == mails
    assert demo_environment(settings, {"smtp_url"}, local_model=True) == visitors
    assert demo_environment(settings, set(), local_model=False) == mails
    production = make_settings(environment="production", public_url="https://yout.example")
    assert demo_environment(production, set(), local_model=True) == {}


def test_the_printed_curl_call_is_complete() -> None:
    shell = shlex.split(curl_snippet("http://127.0.0.1:8000", "yout-key", "m-1").replace("\\\n", ""))
    assert "http://127.0.0.1:8000/v1/chat/completions" in shell
    assert "Authorization: Bearer yout-key" in shell
    body = json.loads(shell[shell.index("-d") + 1])
    assert (body["model"], body["stream"]) == ("m-1", True)


def test_only_installed_programs_are_printed(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    welcome = DemoCredentials("staff@x", None, "demo@x", 1, "yout-key", "m-1")
    monkeypatch.setenv("PATH", str(tmp_path))
    bare = format_banner(make_settings(), welcome)
    assert "curl" not in bare
    assert f"{sys.executable} - <<'END'" in bare
    (tmp_path / "curl").touch(mode=0o755)
    assert "curl -N http://127.0.0.1:8000/v1" in format_banner(make_settings(), welcome)
    [command] = [line.split("`")[1].split()[0] for line in bare.splitlines() if "Staff" in line]
    assert os.access(command, os.X_OK)


def switch_channel(installation: Installation, status: str) -> None:
    with installation.database() as database:
        database.execute("UPDATE channel SET status = ?", (status,))


def test_only_callable_models_are_printed(installation: Installation, start_up: StartUp) -> None:
    installation.yout("migrate")
    installation.yout("channel", "create", "provider", "--dialect", "openai", "--base-url", "http://127.0.0.1:9/v1")
    installation.yout("model", "create", "m-1", "--channel", "provider", "--input", "1", "--output", "1")
    switch_channel(installation, "disabled")
    first = start_up(installation)
    assert "m-1" not in first.wait_for("No model is available yet")
    first.stop()
    switch_channel(installation, "active")
    second = start_up(installation)
    assert '"model": "m-1"' in second.wait_for("END\n")
    second.stop()


def test_a_local_model_that_cannot_be_loaded_is_neither_printed_nor_listed(tmp_path: Path, start_up: StartUp) -> None:
    missing = "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    (tmp_path / "xllamacpp.py").write_text(missing)
    installation = new_installation(tmp_path, PYTHONPATH=str(tmp_path))
    up = start_up(installation, local_model=True)
    output = up.wait_for("END\n")
    assert "apt-get install libgomp1" in output
    assert '"model": "demo-echo"' in output
    with installation.database() as database:
        listed = {id for (id,) in database.execute("SELECT id FROM model WHERE status = 'active'")}
    assert listed == {"demo-echo", "all-minilm-l6-v2", "demo-image", "demo-video", "demo-speech"}
    assert up.stop() == 0


def test_a_second_checkout_runs_beside_the_first(tmp_path: Path, start_up: StartUp) -> None:
    """Without settings, each uses its own ports, prints them, and commands in the same folder find them."""
    edges = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        installation = Installation(tmp_path / name, SECRET_KEY="")
        output = start_up(installation).wait_for("Ctrl-C stops it")
        [address] = printed(output, "Pages")
        link = installation.yout("account", "password-link", "demo@localhost.localdomain").out
        assert address in link
        edges.append(address)
    assert len(set(edges)) == 2


def test_ports_are_published_only_while_it_runs(tmp_path: Path, start_up: StartUp) -> None:
    installation = new_installation(tmp_path)
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    assert json.loads((up.data / PORTS_FILE).read_text())["edge_port"] == port(installation, "EDGE")
    up.stop()
    assert not (up.data / PORTS_FILE).exists()


def test_killing_the_supervisor_leaves_no_process(installation: Installation, start_up: StartUp) -> None:
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    assert up.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(alive(pid) for pid in up.pids()), "the end of the stand-ins")
    wait_until(lambda: not listening_socket(up.valkey), "the end of Valkey")


@pytest.mark.parametrize(("manner", "code"), [("dies 7", 7), ("dies 0", 1)])
def test_the_stack_stops_when_one_process_exits(installation: Installation, start_up: StartUp, manner: str, code: int) -> None:
    up = start_up(installation, worker=manner)
    assert up.wait() == code
    assert f"worker exited with code {manner[-1]}" in up.output
    assert not any(alive(pid) for pid in up.pids())
    assert not listening_socket(up.valkey)


def test_a_second_ctrl_c_kills_unresponsive_processes(installation: Installation, start_up: StartUp) -> None:
    up = start_up(installation, worker="stubborn")
    up.wait_for("Ctrl-C stops it")
    up.wait_for("worker speaks")
    up.process.send_signal(signal.SIGINT)
    up.wait_for("Ctrl-C again")
    assert up.stop(signal.SIGINT) == 0
    assert "worker did not stop in time and was killed" in up.output
    assert not any(alive(pid) for pid in up.pids())


@pytest.mark.parametrize("name", ["EDGE", "CONSOLE"])
def test_a_port_in_use_is_reported_before_anything_starts(installation: Installation, start_up: StartUp, name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port(installation, name)))
        other.listen()
        up = start_up(installation)
        assert up.wait() == 1
    [line] = up.output.splitlines()
    assert line.startswith(f"yout: Port {port(installation, name)} for the {name.lower()} is in use. Set YOUT_{name}_PORT")
    assert up.pids() == []
    assert not (up.data / "yout.db").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"YOUT_CONSOLE_PORT": "18765", "YOUT_EDGE_PORT": "18765"}, "the edge and the console cannot both listen on port 18765"),
        ({"YOUT_BIND_HOST": "192.0.2.1", "SECRET_KEY": "s" * 32}, "Set YOUT_EDGE_PORT or YOUT_BIND_HOST"),
        ({"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/x"}, "The database of DATABASE_URL is unavailable"),
    ],
)
def test_an_invalid_setting_prints_one_line(tmp_path: Path, start_up: StartUp, settings: Mapping[str, str], says: str) -> None:
    up = start_up(new_installation(tmp_path, **settings))
    assert up.wait() == 1
    [line] = up.output.splitlines()
    assert says in line
    assert "hidden" not in line
    assert up.pids() == []


def test_a_data_folder_is_used_by_one_stack_only(installation: Installation, start_up: StartUp) -> None:
    first = start_up(installation)
    first.wait_for("Ctrl-C stops it")
    folder = installation.folder / "second"
    folder.mkdir()
    second = start_up(new_installation(folder, YOUT_DATA_DIR=str(first.data)))
    assert second.wait() == 1
    assert f"Another `yout up` (process {first.process.pid})" in second.output
    assert first.stop() == 0


def test_production_creates_and_prints_no_credentials(tmp_path: Path, start_up: StartUp) -> None:
    allowed = {"YOUT_ALLOW_SQLITE": "true", "YOUT_ALLOW_EMBEDDED_VALKEY": "true", "YOUT_PUBLIC_URL": "https://yout.example"}
    installation = new_installation(tmp_path, YOUT_ENV="production", SECRET_KEY="0123456789abcdef" * 2, **allowed)
    up = start_up(installation)
    output = up.wait_for("Ctrl-C stops it")
    up.stop()
    assert "yout-" not in output
    assert "localdomain" not in output
    assert not (up.data / "welcome.json").exists()
    assert installation.yout("ledger", "verify", "--json").data["accounts"] == 0


def test_a_configured_redis_is_used_instead(tmp_path: Path, start_up: StartUp, redis_url: str) -> None:
    installation = new_installation(tmp_path, REDIS_URL=redis_url)
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    assert not up.valkey.exists()
    assert up.stop() == 0


def test_a_missing_program_is_reported(installation: Installation, start_up: StartUp) -> None:
    up = start_up(installation)
    up.wait_for("Ctrl-C stops it")
    up.stop()
    (installation.folder / "Procfile").write_text("web: no-such-program\n")
    done = installation.yout_process("up", "--no-local", "--procfile", "Procfile")
    assert done.code == 1
    assert "Cannot start web" in done.err
    assert not listening_socket(up.valkey)
