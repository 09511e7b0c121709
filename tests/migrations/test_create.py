"""`python -m migrations NAME` creates the next migration."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations import __main__ as command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "migrations"
    path.mkdir()
    (path / "0009_add_something.py").touch()
    monkeypatch.setattr(command, "FOLDER", path)
    return path


def test_creates_the_next_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["migrations", "add_channel_note"])
    assert command.main() == 0
    text = (folder / "0010_add_channel_note.py").read_text()
    assert "def up(migrator, db):" in text
    assert "def down(migrator, db):" in text


@pytest.mark.parametrize("words", [[], ["note"], ["Add_note"], ["add-note"], ["../add_note"], ["add_note", "more"]])
def test_refuses_other_names(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["migrations", *words])
    assert command.main() == 2
    assert [path.name for path in folder.iterdir()] == ["0009_add_something.py"]
