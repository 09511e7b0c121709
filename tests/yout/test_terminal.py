"""The output of `yout up`: prefixed text, or JSON lines only."""

from __future__ import annotations

import json

import pytest

from yout.supervisor.terminal import Terminal


def test_text_has_the_name_of_its_process_in_front(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(["web", "worker"])
    terminal.line("web", "INFO yout.edge: running")
    terminal.text("Yout is up.")
    assert capsys.readouterr().out == "web    | INFO yout.edge: running\nYout is up.\n"


def test_every_line_is_json_if_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(["web", "valkey"], json=True)
    own = '{"time":"2026-11-30T08:22:54Z","message":"running"}'
    terminal.line("web", own)
    terminal.line("valkey", "Ready to accept connections")
    terminal.text("Yout is up.\n  Edge  http://127.0.0.1:8000/v1")
    first, *others = capsys.readouterr().out.splitlines()
    assert first == own
    assert [(line["process"], line["level"], line["message"]) for line in map(json.loads, others)] == [
        ("valkey", "info", "Ready to accept connections"),
        ("yout", "info", "Yout is up.\n  Edge  http://127.0.0.1:8000/v1"),
    ]
