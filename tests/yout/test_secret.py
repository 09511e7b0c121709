"""`yout secret rotate` while processes run: calls keep their channel secrets, and nothing stays encrypted with the former key."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared.core.secrets import can_decrypt
from tests.edge.http_calls import chat
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.yout.command import Installation
from yout.data_folder import only_rotation

StartEdge = Callable[..., WebProcess]
OLD, NEW = "former-secret-key-of-more-than-32-characters", "second-secret-key-of-more-than-32-characters"


def with_catalog(installation: Installation, upstream: Upstream) -> str:
    """Create a channel with a secret, a model and an account. Returns a key."""
    url = ("--base-url", upstream.url)
    assert installation.yout("channel", "create", "c", "--dialect", "openai", *url, "--secret", "sk-channel").code == 0
    assert installation.yout("model", "create", "m-1", "--channel", "c", "--input", "10", "--output", "20").code == 0
    installation.yout("account", "create", "ada@example.com", "--credits", "100000")
    secret: str = installation.yout("key", "create", "ada@example.com", "--json").data["secret"]
    return secret


def calls_with_the_channel_secret(edge: WebProcess, key: str, upstream: Upstream, model: str) -> bool:
    """Whether the edge knows the model, and sends the channel's secret for it."""
    if chat(edge, key, model=model).status != 200:
        return False
    assert upstream.calls[-1].headers["authorization"] == "Bearer sk-channel"
    return True


def is_rotated(installation: Installation, key: str, upstream: Upstream, *edges: WebProcess) -> None:
    """Check that the edges, which load the catalog again for a new model, decrypt the secret, and that the ledger adds up."""
    created = installation.yout("model", "create", "m-2", "--channel", "c", "--input", "10", "--output", "20")
    assert created.code == 0, created
    for edge in edges:
        eventually(partial(calls_with_the_channel_secret, edge, key, upstream, "m-2"), "a call after the rotation")
    verified = installation.yout("ledger", "verify", "--json")
    assert (verified.code, verified.data["clean"]) == (0, True)


@pytest.fixture
def generated(tmp_path: Path, migrated_sqlite: Path) -> Installation:
    """An installation whose key is in its data folder."""
    (tmp_path / "var").mkdir(mode=0o700)
    shutil.copy(migrated_sqlite, tmp_path / "var" / "yout.db")
    installation = Installation(tmp_path)
    del installation.environment["SECRET_KEY"]
    assert installation.yout("migrate").code == 0
    return installation


def test_a_running_edge_follows_a_generated_key(
    generated: Installation, upstream: Upstream, redis_url: str, start_edge: StartEdge
) -> None:
    key = with_catalog(generated, upstream)
    edge = start_edge(data_dir=generated.folder / "var", secret_key="", redis_url=redis_url)
    assert calls_with_the_channel_secret(edge, key, upstream, "m-1")
    file = generated.folder / "var" / "secret.key"
    first = file.read_text().strip()
    assert generated.yout("secret", "rotate", "--json").data == {"id": "secret", "sealed": 1, "erased": 0}
    second, former = file.read_text().split()
    assert (former, file.stat().st_mode & 0o777) == (first, 0o600)
    with generated.database() as database:
        [(sealed,)] = database.execute("SELECT sealed_secret FROM channel").fetchall()
    assert can_decrypt(sealed, second)
    assert not can_decrypt(sealed, first)
    is_rotated(generated, key, upstream, edge)
    assert generated.yout("secret", "rotate", "--json").data["sealed"] == 1  # again, with a third key
    assert file.read_text().split()[1:] == [second, first]


def test_an_interrupted_rotation_is_backed_up_and_finished_by_one_process(
    generated: Installation, upstream: Upstream, tmp_path: Path
) -> None:
    with_catalog(generated, upstream)
    folder = generated.folder / "var"
    file = folder / "secret.key"
    first = file.read_text().strip()
    file.write_text(f"{NEW}\n{first}\n")  # killed before anything was encrypted again
    assert generated.yout("backup", str(tmp_path / "yout.backup"), "--include-secret-key").code == 0
    (tmp_path / "second").mkdir()
    second = Installation(tmp_path / "second")
    del second.environment["SECRET_KEY"]
    restored = second.yout("restore", str(tmp_path / "yout.backup"), "--json")
    assert (restored.code, restored.data["secret_key_fits"]) == (0, True)
    assert (second.folder / "var" / "secret.key").read_text().split() == [NEW, first]
    with only_rotation(folder):  # another one would replace the key that this one generates
        assert generated.yout("secret", "rotate").code == 1
    assert file.read_text().split() == [NEW, first]
    assert generated.yout("secret", "rotate").code == 0
    with generated.database() as database:
        [(sealed,)] = database.execute("SELECT sealed_secret FROM channel").fetchall()
    assert can_decrypt(sealed, file.read_text().split()[0])


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_edges_with_the_old_and_the_new_key_run_beside_each_other(
    any_database_url: str, tmp_path: Path, upstream: Upstream, redis_url: str, start_edge: StartEdge
) -> None:
    installation = Installation(tmp_path, DATABASE_URL=any_database_url, SECRET_KEY=OLD)
    key = with_catalog(installation, upstream)
    own = {"database_url": any_database_url, "redis_url": redis_url}
    old = start_edge(**own, secret_key=OLD, secret_key_fallback=NEW)
    installation.environment["SECRET_KEY"] = NEW
    assert installation.yout("secret", "rotate").code == 2
    assert installation.yout("ledger", "verify").code == 1
    installation.environment["SECRET_KEY_FALLBACK"] = OLD
    new = start_edge(**own, secret_key=NEW, secret_key_fallback=OLD)
    assert all(calls_with_the_channel_secret(edge, key, upstream, "m-1") for edge in (old, new))
    assert installation.yout("secret", "rotate", "--json").data["sealed"] == 1
    del installation.environment["SECRET_KEY_FALLBACK"]
    is_rotated(installation, key, upstream, old, new)
