"""Commands against a running edge of another installation, with an admin key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers.edge import start_edge
from tests.yout.command import Finished, Installation
from yout.cli import build_parser
from yout.remote.api_client import ATTEMPTS
from yout.remote.run import REMOTE


class Remote:
    """An operator's own machine, the installation it administers, and the key for that."""

    def __init__(self, installation: Installation, machine: Installation) -> None:
        self.installation, self.machine = installation, machine

    def run(self, command: str) -> Any:
        """Run a command remotely; return what it prints as JSON."""
        done = self.machine.yout(*command.split(), "--json")
        assert done.code == 0, (command, done.out, done.err)
        return done.data


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("installation")
    installation = Installation(folder)
    assert installation.yout("migrate").code == 0
    secret = installation.yout("admin-key", "create", "laptop", "--scope", "all", "--json").data["secret"]
    edge = start_edge(folder, {name: installation.environment[name] for name in ("YOUT_DATA_DIR", "SECRET_KEY")})
    machine = tmp_path_factory.mktemp("machine")
    environment = {"YOUT_ADMIN_URL": f"http://127.0.0.1:{edge.port}/", "YOUT_ADMIN_KEY": secret}
    yield Remote(installation, Installation(machine, **environment))
    assert list(machine.iterdir()) == []  # nothing is opened or created here
    edge.kill()


def test_accounts_and_plans(remote: Remote) -> None:
    account = remote.run("account create ada@example.com --credits 500 --name Ada")
    assert (account["email"], account["name"], account["balance"]) == ("ada@example.com", "Ada", 500)
    assert remote.run("credits grant ada@example.com 250 --reason promised")["balance_after"] == 750
    assert remote.run("plan create team --monthly-credits 1000 --rpm 60 --overage")["overage_allowed"] is True
    assert remote.run("plan change team --rpm 90")["rpm"] == 90
    assert [plan["name"] for plan in remote.run("plan list")["plans"]] == ["team"]
    assert remote.run("account subscribe ada@example.com team")["plan"]["name"] == "team"
    assert remote.run("account overage ada@example.com 200")["overage_cap"] == 200
    assert remote.run("account cancel-plan ada@example.com")["cancelled_at"] is not None
    assert remote.run("account keep-plan ada@example.com")["cancelled_at"] is None
    assert remote.run("account suspend-plan ada@example.com")["suspended"] is True
    assert remote.run("account resume-plan ada@example.com")["suspended"] is False
    assert remote.run("account change-plan ada@example.com team --now")["plan"]["name"] == "team"
    assert remote.run("account email ada@example.com lovelace@example.com")["id"] == account["id"]
    assert remote.installation.yout("ledger", "verify").code == 0


def test_members_and_keys(remote: Remote) -> None:
    remote.run("account create owner@example.com")
    member = "owner@example.com ben@example.com"
    assert remote.run(f"member add {member} --role developer --monthly 900")["monthly_credit_limit"] == 900
    changed = remote.run(f"member update {member} --role viewer --monthly 0")
    assert (changed["role"], changed["monthly_credit_limit"]) == ("viewer", None)
    assert remote.run(f"member suspend {member}")["status"] == "suspended"
    assert remote.run(f"member resume {member}")["status"] == "active"
    key = remote.run("key create owner@example.com --name ci --rpm 10 --days 30")
    assert (key["secret"].startswith("yout-"), key["limits"]["rpm"]) == (True, 10)
    own = f"{key['id']} --account owner@example.com"
    limits = remote.run(f"key update {own} --rpm 0 --tpm 500")["limits"]
    assert (limits["rpm"], limits["tpm"]) == (None, 500)
    limited = remote.run(f"key limit {key['id']} 700 --account owner@example.com")
    assert limited["limits"]["monthly_credit_limit"] == 700
    assert remote.run(f"key revoke {own}")["revoked_at"] is not None
    assert {row["email"] for row in remote.run("member list owner@example.com")["members"]} == {
        "owner@example.com",
        "ben@example.com",
    }
    remote.run(f"member transfer {member}")
    remote.run("member remove ben@example.com owner@example.com")


def test_the_catalog(remote: Remote) -> None:
    channel = remote.run("channel create fast --template groq --secret sk-2")
    assert (channel["base_url"], channel["has_secret"]) == ("https://api.groq.com/openai/v1", True)
    model = remote.run(
        "model create vendor/m-1 --channel fast --input 10 --output 20 --rate web_search=500 --context-window 8000"
    )
    assert (model["id"], model["context_window"]) == ("vendor/m-1", 8000)
    price = remote.run("prices set vendor/m-1 --cached-input 2 --rate input@200000=30 --no-rate web_search")
    assert (price["credits_per_1k_input"], price["credits_per_1k_cached_input"]) == (10, 2)
    assert price["rates"] == [{"kind": "input", "above_tokens": 200_000, "credits": 30}]
    remote.run("prices set vendor/m-1 --input 25 --from 2099-01-01T00:00")
    assert remote.run("prices show vendor/m-1") == price
    assert remote.run("model deprecate vendor/m-1 --shutdown 2099-01-31")["shutdown_at"] == "2099-01-31T00:00:00.000Z"
    assert remote.run("model publish vendor/m-1")["status"] == "active"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("credits grant nobody@example.com 5 --reason x", 1, "nobody@example.com"),
        ("account create nonsense", 2, "email"),
        ("plan change team", 2, "at least one field"),
        ("key revoke 0193a5b2-7c1e-7d2a-9b1f-4f2f6f1c9a10", 2, "--account"),
        ("code list", 2, "works only on the installation itself"),
        ("model create x --channel fast --from-template", 2, "--from-template"),
    ],
)
def test_errors_say_what_to_do(remote: Remote, command: str, code: int, says: str) -> None:
    done = remote.machine.yout(*command.split())
    assert (done.code, says in done.err) == (code, True), done.err


def test_people_get_sentences(remote: Remote) -> None:
    done = remote.machine.yout("account", "create", "sentence@example.com")
    assert done.out.startswith("Created account sentence@example.com (")


def test_every_remote_command_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for command in REMOTE:
        with pytest.raises(SystemExit) as end:
            build_parser().parse_args([*command.split(), "--help"])
        assert end.value.code == 0, command
    assert capsys.readouterr().out.count("usage: yout") == len(REMOTE)


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("http://api.example.com", "yout-admin-x", "https://"),
        ("ftp://api.example.com", "yout-admin-x", "address of an edge"),
        ("https://user@api.example.com", "yout-admin-x", "address of an edge"),
        ("https://api.example.com", "", "YOUT_ADMIN_KEY"),
    ],
)
def test_the_key_is_sent_only_encrypted(tmp_path: Path, url: str, key: str, says: str) -> None:
    done = Installation(tmp_path, YOUT_ADMIN_URL=url, YOUT_ADMIN_KEY=key).yout("plan", "list")
    assert (done.code, says in done.err) == (1, True), done.err


class Broken:
    """A server that answers with the next of `answers`: a status and a body, or None to close the connection."""

    def __init__(self, *answers: tuple[int, str] | None) -> None:
        remaining, self.keys = list(answers), set[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.keys.add(self.headers["idempotency-key"])
                self.rfile.read(int(self.headers["content-length"]))
                answer = remaining.pop(0)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("content-length", str(len(answer[1])))
                self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(answer[1].encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def run(self, folder: Path) -> Finished:
        environment = {"YOUT_ADMIN_URL": f"http://127.0.0.1:{self.server.server_port}", "YOUT_ADMIN_KEY": "yout-admin-x"}
        with self.server:
            threading.Thread(target=self.server.serve_forever, daemon=True).start()
            try:
                return Installation(folder, **environment).yout("plan", "create", "team", "--json")
            finally:
                self.server.shutdown()


PLAN = json.dumps({"id": "p", "name": "team", "status": "active", "monthly_credits": 0})
UNAVAILABLE = (503, json.dumps({"error": {"message": "The database is unavailable."}}))


def test_a_lost_answer_is_requested_again_with_the_same_idempotency_key(tmp_path: Path) -> None:
    server = Broken(None, UNAVAILABLE, (201, PLAN))
    assert server.run(tmp_path).data["name"] == "team"
    assert len(server.keys) == 1


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([None] * ATTEMPTS, "does not answer"),
        ([UNAVAILABLE] * ATTEMPTS, "The database is unavailable."),
        ([(200, "<html>")], "did not answer with JSON"),
        ([(200, "{}")], "The response has no field"),
        ([(307, "")], "HTTP 307"),
        ([(403, json.dumps({"error": {"message": "This admin key does not have the scope."}}))], "does not have the scope"),
    ],
)
def test_failures_are_one_message(tmp_path: Path, answers: list[tuple[int, str] | None], says: str) -> None:
    done = Broken(*answers).run(tmp_path)
    assert done.code == 1
    assert says in done.data["error"]["message"]
