"""The documented commands exactly as documented, and their error messages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared.catalog.price_data import price_data, usd
from tests.yout.command import Installation

LOOPBACK = "http://127.0.0.1:9/v1"
NO_STORE = {"body": {"store": False}}
# Every documented command, ordered so that each finds the rows it needs, with the fields of its output besides `id`.
FORMS: list[tuple[str, dict[str, object]]] = [
    ("migrate", {"applied": []}),
    ("account create ada@example.com --credits 500", {"email": "ada@example.com", "credits": 500, "balance": 500}),
    ("account password-link ada@example.com", {"email": "ada@example.com"}),
    ("key create ada@example.com", {"name": "default", "expires_at": None}),
    ("key create ada@example.com --name laptop", {"name": "laptop"}),
    ("credits grant ada@example.com 250 --reason promised", {"credits": 250, "balance": 750, "kind": "grant"}),
    ("credits grant ada@example.com -50 --reason error", {"credits": -50, "balance": 700, "kind": "adjustment"}),
    (f"channel create acme --dialect openai --base-url {LOOPBACK} --secret sk-1", {"name": "acme", "base_url": LOOPBACK}),
    (
        f"channel create quirky --dialect openai --base-url {LOOPBACK} --setting retries=2 --setting mode=fast",
        {"settings": {"retries": 2, "mode": "fast"}},
    ),
    ("channel create relay --dialect responses --base-url https://api.openai.com/v1", {"settings": NO_STORE, "warning": None}),
    ("channel templates", {"id": "templates"}),
    ("channel create fast --template groq --secret sk-2", {"dialect": "openai", "base_url": "https://api.groq.com/openai/v1"}),
    ("model create llama-3.1-8b-instant --channel fast --from-template", {"status": "active", "channel": "fast"}),
    ("channel drafts fast --markup 20", {"kept": ["llama-3.1-8b-instant"]}),
    ("model publish gpt-oss-20b", {"id": "gpt-oss-20b", "status": "active"}),
    ("model create m-1 --channel acme --input 10 --output 20", {"id": "m-1", "upstream_model": "m-1", "free": False}),
    (
        "model create m-2 --channel acme --upstream-model theirs --input 0 --output 0 --cached-input 0 --per-call 0"
        " --kind chat --context-window 8000 --free --full-hold",
        {"id": "m-2", "upstream_model": "theirs", "free": True, "full_hold": True, "context_window": 8000, "kind": "chat"},
    ),
    (
        "model create m-3 --channel acme --input 1 --output 2 --minimum 3 --max-output 100 --description Small"
        " --capability tools --capability vision",
        {"minimum": 3, "max_output_tokens": 100, "capabilities": ["tools", "vision"]},
    ),
    (
        "model create video-1 --channel acme --kind video --per-5-seconds 1200000",
        {"kind": "video", "per_5_seconds": 1_200_000, "input": 0, "modality": "text->video"},
    ),
    (
        "model create m-4 --channel acme --input 10 --output 20 --rate web_search=500",
        {"rates": ["web_search=500"], "input": 10},
    ),
    (
        "prices set m-4 --cached-input 2 --rate input@200000=30 --rate tier:flex=500",
        {"model": "m-4", "input": 10, "cached_input": 2, "rates": ["input@200000=30", "tier:flex=500", "web_search=500"]},
    ),
    (
        "prices set m-4 --output 40 --no-rate input@200000 --rate web_search=600 --from 2999-01-01T00:00",
        {"input": 10, "output": 40, "rates": ["tier:flex=500", "web_search=600"], "effective_at": "2999-01-01T00:00:00.000Z"},
    ),
    ("prices show m-4", {"output": 20, "rates": ["input@200000=30", "tier:flex=500", "web_search=500"]}),
    ("prices sync --channel acme --markup 20 --publish", {"id": "prices", "models": [], "markup_percent": 20}),
    ("channel allow acme plugins --worst-case note", {"name": "acme", "allowed_parameters": {"plugins": "note"}}),
    ("channel rule acme --margin-floor -5 --pause", {"margin_floor": -5, "count_tolerance": 2, "pauses_when_flagged": True}),
    ("channel rule acme --no-pause", {"name": "acme", "margin_floor": -5, "pauses_when_flagged": False}),
    (
        "channel probes acme --daily 24 --credits 5000 --lower-weight",
        {"is_reference": False, "daily_probes": 24, "daily_probe_credits": 5_000, "lowers_weight_when_different": True},
    ),
    ("channel probes quirky --reference", {"name": "quirky", "is_reference": True, "daily_probes": 0}),
    ("channel compare acme --reference acme --model m-1 --probes 3", {"result": "undecided", "probes": 0, "failed": 10}),
    ("channel refuse acme plugins", {"name": "acme", "allowed_parameters": {}}),
    ("model create image-1 --channel acme --kind image --per-call 40000", {"kind": "image", "per_call": 40_000}),
    ("alias create small m-1", {"id": "small", "model": "m-1", "deprecated_at": None, "shutdown_at": None}),
    (
        "alias create gpt-4 small --shutdown 2027-06-30 --deprecated 2027-01-01 --successor m-2",
        {"model": "small", "successor": "m-2", "deprecated_at": 1_798_761_600_000, "shutdown_at": 1_814_313_600_000},
    ),
    (
        "model deprecate m-3 --shutdown 2999-06-30 --successor m-2",
        {"id": "m-3", "successor": "m-2", "shutdown_at": 32_487_696_000_000},
    ),
    ("model deprecate m-3 --shutdown none --successor none --deprecated none", {"successor": None, "deprecated_at": None}),
    ("alias list", {"id": "aliases"}),
    ("alias update gpt-4 --model m-3 --successor none --shutdown none", {"model": "m-3", "successor": None, "shutdown_at": None}),
    ("alias delete gpt-4", {"id": "gpt-4"}),
    ("staff create grace@example.com", {"email": "grace@example.com", "role": "owner"}),
    ("staff password grace@example.com", {"email": "grace@example.com"}),
    (
        "admin-key create terraform --scope accounts:write --scope accounts:read --days 30",
        {"name": "terraform", "scopes": ["accounts:read", "accounts:write"], "revoked_at": None, "last_used_at": None},
    ),
    ("admin-key list", {"id": "admin-keys"}),
    ("admin-key revoke terraform", {"name": "terraform"}),
    (
        "plan create basic --monthly-credits 100 --price-cents 900 --rpm 60 --allow-model m-1 --overage",
        {"name": "basic", "monthly_credits": 100, "rollover_cap": None, "allowed_models": ["m-1"], "overage_allowed": True},
    ),
    ("plan create pro --monthly-credits 300 --rollover-cap 400 --store", {"rollover_cap": 400, "stores_content": True}),
    ("plan change pro --tpm 5000 --no-store --no-offer", {"tpm": 5_000, "stores_content": False, "status": "disabled"}),
    ("plan change pro --offer", {"status": "active"}),
    ("account subscribe ada@example.com basic", {"plan": "basic", "balance": 800, "plan_credits": 100}),
    ("account overage ada@example.com 50", {"overage_cap": 50, "overage_used": 0}),
    ("account change-plan ada@example.com pro --now", {"plan": "pro", "balance": 1_000, "plan_credits": 300}),
    ("account change-plan ada@example.com basic", {"plan": "pro"}),
    ("account suspend-plan ada@example.com", {"status": "active"}),
    ("account resume-plan ada@example.com", {"suspended_at": None}),
    ("account cancel-plan ada@example.com", {"status": "active"}),
    ("account keep-plan ada@example.com", {"cancelled_at": None}),
    ("account cancel-plan ada@example.com --now", {"status": "ended", "balance": 700, "plan_credits": 0}),
    ("key create ada@example.com --monthly-credit-limit 70", {"monthly_credit_limit": 70}),
    ("code create 25 --count 2 --days 9 --note spring", {"credits": 25}),
    ("ledger renew", {"renewed": 0}),
    ("ledger verify", {"clean": True, "accounts": 1, "entries": 6, "open_holds": 0, "problems": [], "unwitnessed": 0}),
    ("ledger seal", {"id": "1"}),
    ("ledger export ledger.jsonl", {"lines": 12}),
    ("ledger verify --dump ledger.jsonl", {"clean": True, "accounts": 1, "entries": 6, "seals": 1, "unsigned": 0}),
    ("ledger sweep", {"expired": 0}),
]
SECRET_OF = {"key create": "secret", "admin-key create": "secret", "staff create": "password", "staff password": "password"}


@pytest.fixture
def installation(tmp_path: Path, migrated_sqlite: Path) -> Installation:
    (tmp_path / "var").mkdir(mode=0o700)
    shutil.copy(migrated_sqlite, tmp_path / "var" / "yout.db")
    return Installation(tmp_path)


def test_every_documented_command_prints_its_object(installation: Installation) -> None:
    for form, expected in FORMS:
        words = form.split()
        done = installation.yout(*words, "--json")
        assert (done.code, done.err) == (0, ""), f"{form}: {done}"
        assert done.data["id"], form
        assert {name: done.data.get(name) for name in expected} == expected, form
        secret = SECRET_OF.get(" ".join(words[:2]))
        assert secret is None or len(done.data[secret]) >= 16, form


def test_a_separate_process_prints_the_same(installation: Installation) -> None:
    refused = installation.yout_process("account", "create", "ada", "--json")
    assert (refused.code, refused.err, refused.data["error"]["code"]) == (2, "", "invalid_input")
    words = ("channel", "create", "typed", "--dialect", "openai", "--base-url", LOOPBACK, "--secret", "-")
    assert installation.yout_process(*words, typed="sk-typed\n").code == 0
    wrong = installation.yout_process("dance")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("yout: ")


def test_a_channel_without_a_known_no_log_signal_is_created_with_a_warning(installation: Installation) -> None:
    words = ("channel", "create", "acme", "--dialect", "openai", "--base-url", "https://llm.acme.example/v1")
    done = installation.yout(*words)
    assert done.code == 0
    assert "Warning: No no-log signal is known for llm.acme.example." in done.out


def test_a_key_is_revoked_by_its_id(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com")
    key = installation.yout("--json", "key", "create", "ada@example.com").data
    first = installation.yout("key", "--json", "revoke", key["id"]).data
    assert first["id"] == key["id"]
    assert installation.yout("key", "revoke", key["id"], "--json").data == first


def test_a_key_is_limited_by_its_id(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com")
    key = installation.yout("--json", "key", "create", "ada@example.com").data
    limits = [installation.yout("key", "limit", key["id"], text, "--json").data["monthly_credit_limit"] for text in ("90", "0")]
    assert limits == [90, None]


def test_an_accounts_email_is_changed(installation: Installation) -> None:
    account = installation.yout("account", "create", "ada@example.com", "--json").data
    changed = installation.yout("account", "email", "ada@example.com", "Ida@example.com", "--json").data
    assert changed == {"id": account["id"], "email": "ida@example.com"}
    assert installation.yout("key", "create", "ada@example.com").code == 1


def test_a_key_is_updated_by_its_id(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com")
    key = installation.yout("--json", "key", "create", "ada@example.com", "--rpm", "5").data
    assert key["can_manage"] is False
    changed = installation.yout(
        *("key", "update", key["id"], "--name", "laptop", "--rpm", "0", "--allow-ip", "10.0.0.0/8", "--manage", "yes", "--json")
    ).data
    fields = {"name": "laptop", "rpm": None, "allowed_ips": ["10.0.0.0/8"], "can_manage": True}
    assert changed == {"id": key["id"], "prefix": key["prefix"], **fields}


def test_codes_are_redeemed_once_and_voided_by_their_batch(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com", "--credits", "5")
    batch = installation.yout("code", "create", "25", "--count", "2", "--json").data
    first, second = batch["codes"]
    assert installation.yout("code", "redeem", "ada@example.com", "-", "--json", typed=f"{first}\n").data["balance"] == 30
    again = installation.yout("code", "redeem", "ada@example.com", first, "--json")
    assert (again.code, again.data["error"]["code"]) == (2, "invalid_input")
    assert installation.yout("code", "void", batch["id"], "--json").data["voided"] == 1
    assert installation.yout("code", "redeem", "ada@example.com", second).code == 2
    [listed] = installation.yout("code", "list", "--json").data["batches"]
    assert (listed["count"], listed["redeemed"], listed["voided"], listed["open"]) == (2, 1, 1, 0)
    assert "1 redeemed, 1 void, 0 unused" in installation.yout("code", "list").out
    plans = installation.yout("plan", "list")
    assert plans.out.startswith("No plans.")


def test_text_output_has_secrets_on_a_separate_line(installation: Installation) -> None:
    created = installation.yout("account", "create", "ada@example.com", "--credits", "5")
    assert created.out.startswith("Created account ada@example.com")
    key = installation.yout("key", "create", "ada@example.com")
    assert key.out.splitlines()[0].startswith("yout-")
    assert "everything adds up" in installation.yout("ledger", "verify").out


def test_secrets_may_be_read_from_standard_input(installation: Installation) -> None:
    words = ("channel", "create", "acme", "--dialect", "openai", "--base-url", LOOPBACK, "--secret", "-")
    assert installation.yout(*words, typed="sk-typed\n").code == 0
    with installation.database() as database:
        [[sealed]] = database.execute("SELECT sealed_secret FROM channel")
    assert sealed
    assert "sk-typed" not in sealed
    staff = installation.yout("staff", "create", "grace@example.com", "--password", "-", "--json", typed="a long enough one\n")
    assert staff.data["password"] == "a long enough one"


def test_audit_entries_name_the_operator(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com")
    with installation.database() as database:
        [[actor]] = database.execute("SELECT actor FROM audit_entry")
    assert actor.startswith("operator:")


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("", 2, "usage"),
        ("dance", 2, "usage"),
        ("key", 2, "usage"),
        ("account create", 2, "usage"),
        ("account create ada@example.com --cred 5", 2, "usage"),
        ("account create ada@example.com --credits many", 2, "usage"),
        ("account create ada@example.com --credits -5", 2, "invalid_input"),
        ("account create ada", 2, "invalid_input"),
        ("admin-key create ci", 2, "usage"),
        ("admin-key create ci --scope everything", 2, "invalid_input"),
        ("admin-key revoke ci", 1, "not_found"),
        ("credits grant ada@example.com 5", 2, "usage"),
        ("credits grant nobody@example.com 5 --reason test", 1, "not_found"),
        ("key revoke 01890000-0000-7000-8000-000000000000", 1, "not_found"),
        ("key update 01890000-0000-7000-8000-000000000000 --name x", 1, "not_found"),
        ("key update 01890000-0000-7000-8000-000000000000", 2, "invalid_input"),
        ("key create nobody@example.com --days 99999999999", 2, "invalid_input"),
        ("channel create c --dialect smoke --base-url http://127.0.0.1", 2, "invalid_input"),
        ("channel create c --dialect openai --base-url http://127.0.0.1 --setting x", 2, "usage"),
        ("channel create c --dialect openai", 2, "usage"),
        ("channel create c --template nobody --secret s", 1, "not_found"),
        ("channel create c --template groq", 2, "invalid_input"),
        ("channel create c --template azure-openai --secret s", 2, "invalid_input"),
        ("channel create c --template groq --dialect openai --secret s", 2, "usage"),
        ("channel drafts nobody", 1, "not_found"),
        ("model publish nobody", 1, "not_found"),
        ("alias create small nobody", 1, "not_found"),
        ("alias create small nobody --shutdown tomorrow", 2, "invalid_input"),
        ("alias update nobody", 2, "invalid_input"),
        ("alias delete nobody", 1, "not_found"),
        ("model create m --channel none --input 1 --output 1", 1, "not_found"),
        ("model create m --channel none --input 0 --output 0", 2, "invalid_input"),
        ("model create m --channel none --kind image", 2, "invalid_input"),
        ("model create m --channel none --kind image --per-5-seconds 1", 2, "invalid_input"),
        ("model create m --channel none --kind video --input 1 --per-5-seconds 1", 2, "invalid_input"),
        ("prices sync --markup -1", 2, "invalid_input"),
        ("channel rule nobody", 1, "not_found"),
        ("channel compare nobody --reference nobody", 1, "not_found"),
        ("channel compare nobody --reference nobody --probes 201", 2, "usage"),
        ("prices sync --channel nobody", 1, "not_found"),
        ("prices sync --model nobody", 1, "not_found"),
        ("staff create grace@example.com --role king", 2, "invalid_input"),
    ],
)
def test_an_invalid_command_prints_one_helpful_line(installation: Installation, words: str, code: int, kind: str) -> None:
    for_scripts = installation.yout("--json", *words.split())
    assert (for_scripts.code, for_scripts.err) == (code, "")
    assert for_scripts.data["error"]["code"] == kind
    for_people = installation.yout(*words.split())
    assert (for_people.code, for_people.out) == (code, "")
    [line] = for_people.err.splitlines()
    assert line == f"yout: {for_scripts.data['error']['message']}"


def test_prices_follow_the_list_prices(installation: Installation) -> None:
    for words in (
        "channel create openai --template openai --secret sk-1",
        "model create small --channel openai --upstream-model gpt-4o-mini --input 100 --output 600",
        "channel create acme --dialect openai --base-url http://127.0.0.1:1/v1",
        "model create other --channel acme --input 1 --output 2",
    ):
        assert installation.yout(*words.split()).code == 0
    sync = ("prices", "sync", "--channel", "openai", "--markup", "20")
    with price_data({"openai": {"gpt-4o-mini": usd("0.15", "0.6")}}):
        assert installation.yout("prices", "check").out == (
            "small: below the list price of openai/gpt-4o-mini (input)\nother: no list price.\n"
        )
        assert installation.yout("prices", "check", "--json").data["unknown"] == ["other"]
    with price_data({"openai": {"gpt-4o-mini": usd("0.15", "0.6", cache_read_mtok="0.075")}}):
        [drafted] = installation.yout(*sync, "--json").data["models"]
        assert (drafted["status"], drafted["sources"]) == ("drafted", ["openai/gpt-4o-mini"])
        assert (drafted["current"]["input"], drafted["list_price"]) == (100, {"input": 150, "output": 600})
        assert (drafted["price"]["input"], drafted["price"]["cached_input"]) == (180, 90)
        assert (drafted["current_margin_percent"], drafted["margin_percent"]) == (
            {"input": -50, "output": 0},
            {"input": 16, "output": 16},
        )
        out = installation.yout("prices", "sync", "--markup", "20", "--publish").out
        assert "small: published. input 100 → 180 (margin 16 %), output 600 → 720 (margin 16 %)" in out
        assert "other: no list price. The provider is not in the price data." in out
        assert installation.yout(*sync).out == "small: unchanged. input 180 (margin 16 %), output 720 (margin 16 %)\n"
    assert installation.yout("prices", "show", "small", "--json").data["cached_input"] == 90


@pytest.mark.parametrize(
    ("setting", "value", "kind", "says"),
    [
        ("YOUT_EDGE_PORT", "eighty", "settings", "YOUT_EDGE_PORT must be a whole number"),
        ("YOUT_ENV", "production", "settings", "SECRET_KEY"),
        ("DATABASE_URL", "mysql://x/y", "settings", "DATABASE_URL must start with"),
        ("DATABASE_URL", "postgresql://u:p/ss@h/x", "settings", "DATABASE_URL cannot be parsed"),
        ("DATABASE_URL", f"sqlite:///{__file__}", "settings", "DATABASE_URL cannot be used: file is not a database"),
        ("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x", "failed", "The database of DATABASE_URL is unavailable"),
        ("YOUT_DATA_DIR", "/proc/nowhere", "settings", "/proc"),
        ("YOUT_DATA_DIR", "empty", "schema_mismatch", "yout migrate"),
    ],
)
def test_an_invalid_environment_prints_one_line(tmp_path: Path, setting: str, value: str, kind: str, says: str) -> None:
    environment = {"SECRET_KEY": "short" if setting == "YOUT_ENV" else "0123456789abcdef" * 2}
    done = Installation(tmp_path, **environment, **{setting: value}).yout("ledger", "verify", "--json")
    assert (done.code, done.err) == (1, "")
    assert done.data["error"]["code"] == kind
    assert says in done.data["error"]["message"]
    assert "hidden" not in done.out


def test_a_password_link_shows_its_base_url(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com")
    command = ("account", "password-link", "ada@example.com")
    assert installation.yout(*command).out.startswith("http://127.0.0.1:")
    assert "YOUT_PUBLIC_URL" not in installation.yout(*command).out
    installation.environment["YOUT_TRUSTED_PROXIES"] = "10.0.0.0/8"
    assert "YOUT_PUBLIC_URL is not set" in installation.yout(*command).out
    installation.environment["YOUT_PUBLIC_URL"] = "https://yout.example/"
    link = installation.yout(*command).out
    assert link.startswith("https://yout.example/password/")
    assert "YOUT_PUBLIC_URL" not in link


def test_another_secret_key_is_rejected_until_everything_is_reencrypted(installation: Installation) -> None:
    former, key = installation.environment["SECRET_KEY"], "another secret key, of 32 characters and more"
    installation.yout("channel", "create", "c", "--dialect", "openai", "--base-url", "http://127.0.0.1:9/v1", "--secret", "sk-1")
    installation.environment["SECRET_KEY"] = key
    refused = installation.yout("ledger", "verify")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith("yout: SECRET_KEY is not the one that this database was set up with")
    assert installation.yout("migrate").err == refused.err
    assert installation.yout("secret", "rotate").code == 2
    wrong = installation.yout("secret", "rotate", "--former", "neither of the two")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    changed = installation.yout("secret", "rotate", "--former", former, "--json")
    assert changed.data == {"id": "secret", "sealed": 1, "erased": 0}
    assert installation.yout("ledger", "verify").code == 0


def test_an_inconsistent_ledger_fails_verification_with_details(installation: Installation) -> None:
    account = installation.yout("account", "create", "ada@example.com", "--credits", "500", "--json").data["id"]
    with installation.database() as connection:
        connection.execute("UPDATE account SET balance = balance + 1")
    done = installation.yout("ledger", "verify")
    assert done.code == 1
    assert f"account {account}: balance 501" in done.out.splitlines()[0]
    report = installation.yout("ledger", "verify", "--json")
    assert (report.code, report.data["clean"], len(report.data["problems"])) == (1, False, 1)


def test_verification_compares_seals_with_their_copies_in_the_media_store(installation: Installation) -> None:
    installation.yout("account", "create", "ada@example.com", "--credits", "500")
    assert installation.yout("ledger", "seal").code == 0
    assert installation.yout("ledger", "verify").code == 0
    with installation.database() as connection:
        connection.execute("DELETE FROM ledger_leaf")
        connection.execute("DELETE FROM ledger_seal")
    done = installation.yout("ledger", "verify")
    assert done.code == 1
    assert done.out.splitlines()[0] == "seal 1: in the media store, but not in the database"


def test_migrate_creates_the_schema_and_is_idempotent(tmp_path: Path) -> None:
    fresh = Installation(tmp_path)
    first = fresh.yout("migrate", "--json").data
    assert first["applied"][0] == "0001_create_foundation"
    assert first["id"] == first["applied"][-1]
    assert fresh.yout("migrate", "--json").data == {"id": first["id"], "applied": []}
    assert "up to date" in fresh.yout("migrate").out


def test_a_closed_pipe_prints_no_traceback(installation: Installation) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "yout", "ledger", "verify"],
        cwd=installation.folder,
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(30) == 1
