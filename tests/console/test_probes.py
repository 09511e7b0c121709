"""Probes in the console: their rule, what they have shown, and restarting a comparison."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.models import AuditEntry, Channel, ChannelComparison, ProbeSum
from shared.operations.model_probes import DAY_MS
from shared.probes.evidence import Differences, Evidence
from tests import factories


@pytest.fixture
def compared(bound_database: Any) -> Channel:
    """A channel whose `m-1` differs from that of the reference, and whose `m-2` has no reference."""
    reference = factories.channel("https://api.example.com/v1", name="direct", is_reference=True)
    channel = factories.channel("https://cheap.example.com/v1", name="cheap", daily_probes=24, daily_probe_credits=5_000)
    factories.model("m-1", reference, channel)
    factories.model("m-2", channel)
    now = now_ms()
    ChannelComparison.create(
        channel=channel.id,
        model="m-1",
        reference=reference.id,
        evidence=Evidence(7).to_json(),
        verdict="different",
        compared_at=now,
        verdict_evidence=Evidence(31, {"answers": Differences(16, 14, 0)}).to_json(),
    )
    today = now - now % DAY_MS
    counts = {"probes": 40, "differing": 30, "reference_differing": 1, "passed": 10, "reference_passed": 60}
    ProbeSum.create(day=today, channel=channel.id, model="m-1", kind="answers", **counts)
    ProbeSum.create(day=today - DAY_MS, channel=channel.id, model="m-1", kind="answers", **counts)
    ProbeSum.create(day=today, channel=channel.id, model="m-1", kind="probes", probes=90, failed=2, provider_cost=1_234)
    return channel


def texts(page: str, pattern: str) -> list[str]:
    [row] = [row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if re.search(pattern, row)]
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)]


def test_a_channel_shows_how_it_differs(compared: Channel, signed_in: Any) -> None:
    browser = signed_in("readonly")
    page = browser.get(f"/channels/{compared.id}").text
    row = texts(page, r"(?s)>m-1<br>.*direct")
    assert row[0] == "m-1 reference direct"
    assert row[1].startswith("different ")
    assert row[1].endswith("31 probes evidence 218")
    assert row[2] == "7 of 200 probes evidence 1"
    assert texts(page, "m-2<br>")[:3] == ["m-2 no reference", "not compared", "–"]
    assert texts(page, "<td>Answers</td>") == ["Answers", "80", "75.00 %", "2.50 %", "25.00 %", "75.00 %"]
    assert "2 failed, provider cost 1\u202f234 credits" in page
    assert "At most 24 probes a day, for at most 5\u202f000 credits. The weight is not lowered." in page
    assert page.count('data-value="30"') == 2  # in the chart
    assert ">different</span>" in browser.get("/channels/").text
    assert "This channel is a reference" in browser.get(f"/channels/{Channel.get(Channel.name == 'direct').id}").text
    for form in ("probes", "compare"):
        assert f"/channels/{compared.id}/{form}" not in page
        assert browser.post(f"/channels/{compared.id}/{form}", {}).status_code in (400, 403)


def test_probes_are_changed_and_audited(compared: Channel, signed_in: Any) -> None:
    browser, path = signed_in("owner"), f"/channels/{compared.id}"
    answer = browser.submit_form(path, f"{path}/probes", daily_probes="10 001", daily_probe_credits="1")
    assert answer.status_code == 422
    answer = browser.submit_form(path, f"{path}/probes", daily_probes="5", daily_probe_credits="0")
    assert "Enter the maximum cost" in answer.text
    answer = browser.submit_form(
        path, f"{path}/probes", daily_probes="48", daily_probe_credits="9 000", lowers_weight_when_different="y"
    )
    assert "Probes updated." in answer.text
    assert "weight lowered" in answer.text
    entry = AuditEntry.get(AuditEntry.action == "channel.probes")
    assert (entry.target, entry.before["daily_probes"], entry.after["daily_probes"]) == ("cheap", 24, 48)
    answer = browser.submit_form(path, f"{path}/compare")
    assert "The comparison of m-1 starts over." in answer.text
    assert ChannelComparison.get().verdict is None
    assert AuditEntry.get(AuditEntry.action == "channel.compare").before == {"verdict": "different"}
