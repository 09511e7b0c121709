"""The platform files use existing settings, start the Procfile's processes, and give a stopping edge enough time."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from shared.core.process_main import EXIT_SECONDS
from shared.core.settings import Settings
from tests.servers.process import ROOT

SETTINGS = {name for field in Settings.__dataclass_fields__.values() for name in field.metadata.get("variables", ())}
STOP_SECONDS = Settings.load({}, dotenv=None).drain_seconds + EXIT_SECONDS
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
RAILWAY = sorted((ROOT / "deploy/railway").glob("*.json"))
IMAGE_PATHS = {
    "console",
    "edge",
    "migrations",
    "shared",
    "transport",
    "workers",
    "yout",
    "pyproject.toml",
    "Procfile",
    "requirements",
}


class Started(NamedTuple):
    """A process that a file starts. `stop_seconds` is the time between SIGTERM and SIGKILL; None for the platform's default."""

    file: str
    command: str
    stop_seconds: float | None


def read(name: str) -> str:
    return (ROOT / name).read_text()


def compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(read("compose.yaml"))
    return data


def render_services() -> list[dict[str, Any]]:
    return [service for service in yaml.safe_load(read("render.yaml"))["services"] if service["type"] != "keyvalue"]


def procfile() -> dict[str, str]:
    return {name: command.strip() for name, _, command in (line.partition(":") for line in read("Procfile").splitlines())}


def started() -> Iterator[Started]:
    """Every long-running process of every file."""
    for name, service in compose()["services"].items():
        if "build" in service and name != "migrate":
            command = shlex.join(service.get("command", ["python", "-m", "edge"]))
            yield Started("compose.yaml", command, float(service["stop_grace_period"].removesuffix("s")))
    for service in render_services():
        yield Started("render.yaml", service["dockerCommand"], service.get("maxShutdownDelaySeconds"))
    fly = tomllib.loads(read("fly.toml"))
    yield from (Started("fly.toml", command, fly["kill_timeout"]) for command in fly["processes"].values())
    for path in RAILWAY:
        deploy = json.loads(path.read_text())["deploy"]
        yield Started(f"railway/{path.name}", deploy["startCommand"], deploy["drainingSeconds"])
    for path in UNITS:
        text = path.read_text()
        if "Type=oneshot" not in text:
            [command] = re.findall(r"^ExecStart=/opt/yout/\.venv/bin/(.+)$", text, re.MULTILINE)
            [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
            yield Started(path.name, command, float(seconds))
    yield from (Started("heroku.yml", command, None) for command in yaml.safe_load(read("heroku.yml"))["run"].values())


def test_every_file_starts_processes_of_the_procfile() -> None:
    commands = {command for name, command in procfile().items() if name != "release"}
    by_file: dict[str, set[str]] = {}
    for process in started():
        by_file.setdefault(process.file, set()).add(process.command)
    assert by_file["compose.yaml"] == by_file["render.yaml"] == by_file["fly.toml"] == commands
    assert set().union(*(found for file, found in by_file.items() if file.startswith("railway/"))) == commands
    assert set().union(*(found for file, found in by_file.items() if file.endswith(".service"))) == commands
    assert by_file["heroku.yml"] == {procfile()["console"]}


def test_every_file_migrates_first() -> None:
    release = procfile()["release"]
    assert shlex.join(compose()["services"]["migrate"]["command"]) == release
    assert [service["preDeployCommand"] for service in render_services() if "preDeployCommand" in service] == [release]
    assert tomllib.loads(read("fly.toml"))["deploy"]["release_command"] == release
    deploys = [json.loads(path.read_text())["deploy"] for path in RAILWAY]
    assert [deploy["preDeployCommand"] for deploy in deploys if "preDeployCommand" in deploy] == [[release]]
    assert f"ExecStart=/opt/yout/.venv/bin/{release}\n" in read("deploy/systemd/yout-migrate.service")


def test_the_command_line_runs_like_the_services() -> None:
    worker = read("deploy/systemd/yout-worker.service")
    _, command = read("deploy/systemd/yout").split("exec ")
    words = shlex.split(command)
    assert {"--uid=yout", "--wait"} <= set(words)
    assert "User=yout\n" in worker
    assert "--property=EnvironmentFile=/etc/yout/yout.env" in words
    assert "EnvironmentFile=/etc/yout/yout.env\n" in worker
    assert words[-2:] == ["/opt/yout/.venv/bin/yout", "$@"]


def test_running_calls_can_complete_before_a_process_is_killed() -> None:
    own_time = [(process.file, process.stop_seconds) for process in started() if process.stop_seconds is not None]
    assert len(own_time) > 10
    assert [(file, seconds) for file, seconds in own_time if seconds < STOP_SECONDS] == []


def test_the_files_name_real_settings() -> None:
    render = yaml.safe_load(read("render.yaml"))
    groups = [*render_services(), *render["envVarGroups"]]
    named = {
        *json.loads(read("app.json"))["env"],
        *(variable["key"] for group in groups for variable in group["envVars"] if "key" in variable),
        *tomllib.loads(read("fly.toml"))["env"],
        *compose()["x-yout"]["environment"],
        *re.findall(r"^([A-Z_]+)=", read("deploy/systemd/yout.env.example"), re.MULTILINE),
        *re.findall(r"^Environment=(YOUT_\w+)=", "".join(path.read_text() for path in UNITS), re.MULTILINE),
        *re.findall(r"\b(YOUT_[A-Z_]+|PORT)=", read("Dockerfile")),
    }
    assert len(named) > 15
    assert named - SETTINGS == set()


def test_compose_publishes_on_loopback_only_and_requires_every_secret() -> None:
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:8000:8000", "127.0.0.1:8001:8000"]
    for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "YOUT_PUBLIC_URL"):
        assert re.findall(rf"\$\{{{name}(:.)", read("compose.yaml"))
        assert set(re.findall(rf"\$\{{{name}(:.)", read("compose.yaml"))) == {":?"}
    ours = [service for service in services.values() if "build" in service]
    assert len(ours) == 4
    assert all(service["cap_drop"] == ["ALL"] and service["read_only"] for service in ours)


def test_the_image_runs_unprivileged_and_contains_no_secrets() -> None:
    dockerfile = read("Dockerfile")
    final = dockerfile.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["10001"]
    assert re.findall(r"^ARG (.+)$", dockerfile, re.MULTILINE) == ["BASE=docker.io/library/python:3.12-slim-bookworm", "EXTRA="]
    assert not re.search(r"SECRET|PASSWORD|TOKEN", dockerfile)
    lines = read(".dockerignore").splitlines()
    allowed = {line[1:].split("/")[0] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert allowed == IMAGE_PATHS


def test_the_health_check_of_the_image_is_valid_python() -> None:
    text = read("Dockerfile").replace("\\\n", "")
    [line] = [line for line in text.splitlines() if line.startswith("HEALTHCHECK ")]
    [python, option, program] = json.loads(line.partition(" CMD ")[2])
    assert (python, option) == ("python", "-c")
    compile(program, "healthcheck", "exec")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze: not on this machine")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    names = []
    for unit in UNITS:
        name = unit.name.replace("@.", "@8000.")
        text = unit.read_text().replace("/opt/yout/.venv/bin/python", shutil.which("true") or "/bin/true")
        (tmp_path / name).write_text(text)
        names.append(f"./{name}")
    command = ["systemd-analyze", "verify", "--man=no", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_run_in_a_sandbox() -> None:
    assert len(UNITS) == 4
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        for line in ("User=yout", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "PrivateDevices=yes"):
            assert line in lines, (unit.name, line)
