"""Lists in the documents that can be derived from the code: each is complete and has no other entries."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from quart import Quart

from console.metrics import GROUPS as CONSOLE_GROUPS
from console.metrics import ConsoleMetrics
from console.views import views
from edge.app import ENDPOINTS, create_app
from edge.http.errors import CONFLICTS, ERROR_SPECS, INTERNAL
from edge.reference.document import OWN_CODES, routes_of
from edge.store.metrics import GROUPS as EDGE_GROUPS
from edge.store.metrics import Metrics, StoredGauges
from edge.web.routes import web
from migrations import __file__ as migrations_file
from shared.core import errors
from shared.core.settings import Settings
from shared.media.failure_messages import MESSAGES
from shared.models import MODELS
from tests.distribution import ACCOUNT_COLUMNS
from tests.docs.documents import names, read, rows, section
from tests.servers.process import ROOT
from workers import alerts, billing, ledger_seals, mail, margins, partitions, payments, probes, rollup, usage_retention
from workers.broker import make_broker
from workers.budgets import BudgetWork
from workers.media_actors import MediaActors
from workers.metrics import GROUPS as WORKER_GROUPS
from workers.metrics import WorkerMetrics
from workers.purge import STORES, PurgeActors
from yout.cli import build_parser

# Codes that are sent before a request reaches the error table: by the ASGI entry and the handlers for unknown routes.
ENTRY_CODES = {"upgrade_required", "method_not_allowed", "method_not_implemented"}
# Paths of files and of page fragments, which people do not open directly.
PARTS = re.compile(r"/static/|\.json$|\.csv$|/created/|/delete$|/revoke$|/edit$|/account/media/")
# Pages of the console that are reached from another page and described with it.
INNER_PAGES = {"Members", "Account"}


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


def test_the_actors_of_the_workers(settings: Settings) -> None:
    broker = make_broker("redis://localhost")
    billing.register_actors(broker)
    MediaActors(settings).register_actors(broker)
    PurgeActors(settings).register_actors(broker)
    limits = {name: actor.options.get("time_limit", 600_000) // 1000 for name, actor in broker.actors.items()}
    limits["make_media"] -= settings.media_answer_seconds * 4
    documented = {
        (names(cells[0])[0], names(cells[1])[0], re.findall(r"(\d+) s", cells[4])[0])
        for cells in rows(section("docs/workers.md", "## Messages"))
    }
    assert documented == {(name, actor.queue_name, str(limits[name])) for name, actor in broker.actors.items()}


def test_the_periodic_tasks_of_the_workers(settings: Settings) -> None:
    media, purges = MediaActors(settings), PurgeActors(settings)
    complete = settings.__class__.load(
        {
            "YOUT_DATA_DIR": str(settings.data_dir),
            "YOUT_SMTP_URL": "smtp://mx.example.com",
            "YOUT_MAIL_FROM": "a@example.com",
            "YOUT_PUBLIC_URL": "https://yout.example",
            "STRIPE_API_KEY": "sk_test_1",
        },
        dotenv=None,
    )
    budget_work = BudgetWork(settings)
    tasks = [
        *(*billing.periodic_tasks(settings), *rollup.PERIODIC, *usage_retention.periodic_tasks(settings)),
        *(*partitions.PERIODIC, *margins.periodic_tasks(settings)),
        *ledger_seals.periodic_tasks(settings),
        *(*media.periodic, *purges.periodic),
        *(*budget_work.periodic, budget_work.webhooks),
        *(media.callbacks, *mail.periodic(complete), *alerts.periodic_tasks(settings), media.leases),
        *(*probes.periodic_tasks(settings), *payments.periodic_tasks(complete)),
    ]
    documented = [(names(cells[0])[0], cells[1]) for cells in rows(section("docs/workers.md", "## Periodic tasks"))]
    assert sorted(documented) == sorted((task.name, f"{task.interval_seconds:.0f} s") for task in tasks)


def test_the_pages_of_the_account() -> None:
    app = Quart(__name__)
    app.register_blueprint(web)
    pages = {rule.rule.replace("<path:", "<") for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    documented = {
        name for cells in rows(read("docs/account.md").split("\n## ")[0]) for name in names(cells[0]) if name.startswith("/")
    }
    assert documented == {page for page in pages if not PARTS.search(page)}


def test_the_pages_of_the_console() -> None:
    documented = [cells[0] for cells in rows(section("docs/console.md", "## What is there"))]
    assert sorted(documented) == sorted({"Home", *(str(view.name) for view in views())} - INNER_PAGES)


def test_the_tables_and_their_distribution() -> None:
    listed = [name for cells in rows(section("docs/scaling.md", "## Distribution by account")) for name in names(cells[0])]
    assert sorted(listed) == sorted(model._meta.table_name for model in MODELS)
    distributed = set()
    for cells in rows(section("docs/scaling.md", "## Distribution by account")):
        if "distributed by account" in cells[1]:
            distributed.update(names(cells[0]))
        if "part of the primary key" in cells[1]:
            assert [name for name in names(cells[0]) if name != "account" and not _has_account_in_key(name)] == []
    assert distributed == set(ACCOUNT_COLUMNS)
    growing = [name for cells in rows(section("docs/scaling.md", "## PostgreSQL").split("###")[0]) for name in names(cells[0])]
    assert set(growing) <= set(listed)


def test_the_script_for_citus_places_tables_as_documented() -> None:
    script = (ROOT / "deploy" / "citus" / "distribute.sql").read_text()
    lists = [re.findall(r"'(\w+)'", found) for found in re.findall(r"ARRAY\[([^\]]+)\]", script)]
    references = {
        name
        for cells in rows(section("docs/scaling.md", "## Distribution by account"))
        if cells[1].startswith("reference tables")
        for name in names(cells[0])
    }
    assert [sorted(found) for found in lists] == [
        sorted(references),
        *(sorted(name for name, column in ACCOUNT_COLUMNS.items() if column == wanted) for wanted in ("account_id", "account")),
    ]


def _has_account_in_key(table: str) -> bool:
    [meta] = [model._meta for model in MODELS if model._meta.table_name == table]
    return "account" in (meta.primary_key.field_names if meta.composite_key else (meta.primary_key.name,))


def test_the_error_codes() -> None:
    documented = [name for cells in rows(section("docs/api.md", "## Errors").split("###")[0]) for name in names(cells[1])]
    assert len(documented) == len(set(documented))
    table = {spec.code for spec in (*ERROR_SPECS.values(), *CONFLICTS.values(), INTERNAL) if spec.code}
    own = {code for codes in OWN_CODES.values() for code in codes}
    assert set(documented) == table | own | ENTRY_CODES
    statuses = {
        code: {int(status) for status in re.findall(r"\d{3}", cells[0])}
        for cells in rows(section("docs/api.md", "## Errors").split("###")[0])
        for code in names(cells[1])
    }
    for spec in (*ERROR_SPECS.values(), *CONFLICTS.values(), INTERNAL):
        assert not spec.code or spec.status in statuses[spec.code], spec.code


def test_every_code_that_the_code_raises_is_in_the_error_table() -> None:
    known = {code for codes in OWN_CODES.values() for code in codes}
    assert {code for code in _raised_codes() if code not in known} == set()


def _raised_codes() -> Iterator[str]:
    """Yield the constant codes of errors that carry their own."""
    position = {errors.AccessDenied.__name__: 1, errors.InvalidRequest.__name__: 2, errors.UpstreamRejected.__name__: 2}
    for folder in ("edge", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in position:
                    values = [*node.args[position[node.func.id] :], *(word.value for word in node.keywords if word.arg == "code")]
                    yield from (str(value.value) for value in values if isinstance(value, ast.Constant) and value.value)


def test_the_callers_of_the_api(settings: Settings) -> None:
    routes = list(routes_of(create_app(settings), ENDPOINTS))
    open_to_visitors = {
        f"{route.method} {route.path}" for route in routes if route.declaration and "visitor" in route.declaration.callers
    }
    [visitor] = [cells for cells in rows(section("docs/api.md", "## Calling")) if cells[0] == "visitor"]
    public = {"GET /v1/models", "GET /api/chat/models/", "GET /c/<slug>"}
    assert {name for name in names(visitor[2]) if " " in name} == open_to_visitors | public


def test_the_metrics() -> None:
    rendered = {
        "### The edge": Metrics().render(StoredGauges(0, 0, 0, 0), True, True),
        "### The worker": WorkerMetrics().render("redis://127.0.0.1:1") + WorkerMetrics().render("amqp://127.0.0.1:1"),
        "### The console": ConsoleMetrics().render(),
    }
    labels = {metric.name: group.labels for group in (*EDGE_GROUPS, *WORKER_GROUPS, *CONSOLE_GROUPS) for metric in group.metrics}
    for heading, text in rendered.items():
        exported = re.findall(r"^# TYPE (\w+) \w+", text.decode(), re.MULTILINE)
        listed = {name: cells[1] for cells in rows(section("docs/monitoring.md", heading)) for name in names(cells[0])}
        assert sorted(listed) == sorted(set(exported))
        for name in listed.keys() & labels.keys():
            assert listed[name] == ", ".join(labels[name]), name


def test_the_counts_of_a_purge_certificate() -> None:
    documented = [name for cells in rows(section("docs/privacy.md", "## The certificate")) for name in names(cells[0])]
    assert sorted(documented) == sorted(STORES)


def test_the_codes_of_failed_media_jobs() -> None:
    documented = [name for cells in rows(section("docs/media.md", "## The job")) for name in names(cells[0])]
    assert sorted(documented) == sorted(MESSAGES)


def commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ("yout",)) -> Iterator[tuple[str, set[str]]]:
    """Yield each command with its options."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield " ".join(path), {name for action in parser._actions for name in action.option_strings} - {"-h", "--help", "--json"}
    for action in nested:
        for name, child in action.choices.items():
            yield from commands(child, (*path, name))


def test_the_commands_and_their_options() -> None:
    parts = re.split(r"^### ", read("docs/cli.md"), flags=re.MULTILINE)[1:]
    described: dict[str, set[str]] = {}
    known = dict(commands(build_parser()))
    for part in parts:
        heading, _, body = part.partition("\n")
        for form in names(heading):
            [command] = [name for name in known if form == name or form.startswith(f"{name} ")]
            described.setdefault(command, set()).update(re.findall(r"--[a-z0-9][a-z0-9-]*", f"{form} {body.split('```')[0]}"))
    assert set(described) == set(known)
    missing = {name: options - described[name] for name, options in known.items() if options - described[name]}
    assert missing == {}


def test_the_example_of_migrate_names_the_last_migration() -> None:
    folder = ROOT / "migrations"
    assert migrations_file is not None
    last = sorted(path.stem for path in folder.glob("[0-9]*.py"))[-1]
    assert f'{{"id": "{last}", "applied": [' in section("docs/cli.md", "### `yout migrate`")


def test_the_documents_name_real_settings() -> None:
    known: set[Any] = {name for field in Settings.__dataclass_fields__.values() for name in field.metadata.get("variables", ())}
    known |= {"YOUT_TEST_REDIS", "YOUT_TEST_SCREENSHOTS", "YOUT_TEST_CITUS", "YOUT_LOCAL_API_KEY"}
    known |= {"YOUT_ADMIN_KEY", "YOUT_ADMIN_URL"}
    named = {
        (path.name, name)
        for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for name in re.findall(r"\bYOUT_[A-Z_]+[A-Z]\b", path.read_text())
    }
    assert {(page, name) for page, name in named if name not in known} == set()


def test_the_map_of_the_code_names_every_package() -> None:
    tree = section("ARCHITECTURE.md", "## The packages")
    found = {
        f"{room}/{path.stem}"
        for room in ("edge", "shared", "workers")
        for path in (ROOT / room).iterdir()
        if not path.name.startswith((".", "__")) and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert {name for name in found if not re.search(rf"\b{name.partition('/')[2]}\b", tree)} == set()
