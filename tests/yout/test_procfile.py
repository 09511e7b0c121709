"""The Procfile is parsed like Heroku-like platforms do, but without a shell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.core.errors import SettingsError
from yout.supervisor.procfile import PROJECT_PROCFILE, read_procfile


def test_our_procfile_names_the_three_processes() -> None:
    processes = read_procfile(PROJECT_PROCFILE)
    assert list(processes) == ["web", "console", "worker"]
    assert processes["web"] == [sys.executable, "-m", "edge"]
    assert "release: python -m yout migrate\n" in PROJECT_PROCFILE.read_text()


def test_process_names_are_unique() -> None:
    commands = [line.partition(":")[2].strip() for line in PROJECT_PROCFILE.read_text().splitlines()]
    assert len(commands) == len(set(commands)) == 4


def test_comments_quotes_and_programs(tmp_path: Path) -> None:
    file = tmp_path / "Procfile"
    file.write_text("# ours\n\nrelease: yout migrate\nmy-clock: /bin/sleep '1 0'\nother: yout ledger sweep\n")
    assert read_procfile(file) == {
        "my-clock": ["/bin/sleep", "1 0"],
        "other": [sys.executable, "-m", "yout", "ledger", "sweep"],
    }


@pytest.mark.parametrize("text", ["", "release: yout migrate\n", "edge python\n", "edge: 'open\n", ": x\n"])
def test_an_invalid_procfile_is_rejected(tmp_path: Path, text: str) -> None:
    file = tmp_path / "Procfile"
    file.write_text(text)
    with pytest.raises(SettingsError, match="Procfile"):
        read_procfile(file)


def test_a_missing_procfile_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Cannot read the Procfile"):
        read_procfile(tmp_path / "Procfile")
