"""Whether channels serve the same models as reference channels: rules, scheduled probes, and their results.

Staff mark reference channels, and set how many probes a day another channel gets (none by default). Each of its chat models that
a reference channel also serves is compared in runs of at most `RUN_PROBES` probes (`shared/probes/evidence.py`). A run ends with
a verdict. While it is `different`, the channel's weight is lowered if its rule says so (`shared/catalog/reader.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from peewee import fn

from shared.catalog.reader import route_of
from shared.catalog.snapshot import Route
from shared.core.database import is_sqlite, transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, Channel, ChannelComparison, ChannelModel, ProbeSum
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.channels import find_channel
from shared.operations.validation import check_integer
from shared.probes.client import ProbeResult
from shared.probes.comparison import Observation
from shared.probes.evidence import Evidence, read_evidence
from shared.text.translation import lazy_gettext

DAY_MS = 24 * 3_600_000
MAX_DAILY_PROBES = 10_000
MAX_DAILY_CREDITS = 10**12
KEPT_DAYS = 400
ALL_PROBES = "probes"  # the kind of the sums of all probes
ORIGIN = Origin("model probes")
_COUNTS = ("probes", "failed", "differing", "reference_differing", "passed", "reference_passed", "provider_cost")
PASSED_KINDS = {"question": "answers", "tool": "tool_calls"}  # by shape: the kind that counts passed replies


class ProbeRule(NamedTuple):
    """Whether a channel is a reference; probes a day and their maximum cost in credits; whether `different` lowers its weight."""

    is_reference: bool
    daily_probes: int
    daily_probe_credits: int
    lowers_weight_when_different: bool


class ClaimedProbe(NamedTuple):
    """A probe to send now, to the reference and the channel of `route`, after `number` others of the run."""

    reference: Route
    route: Route
    model: str
    number: int


def rule_of(channel: Channel) -> ProbeRule:
    """Return the rule of a channel."""
    return ProbeRule(*(getattr(channel, name) for name in ProbeRule._fields))


def update_probe_rule(name: str, rule: ProbeRule, *, origin: Origin) -> Channel:
    """Change a channel's rule. Raises `NotFound`, and `InvalidInput` for invalid values."""
    check_integer("probes per day", rule.daily_probes, 0, MAX_DAILY_PROBES)
    check_integer("credits per day", rule.daily_probe_credits, 0, MAX_DAILY_CREDITS)
    if rule.is_reference and rule.daily_probes:
        raise InvalidInput(lazy_gettext("A reference channel is not compared. Set its probes per day to 0."))
    if rule.daily_probes and not rule.daily_probe_credits:
        raise InvalidInput(lazy_gettext("Enter the maximum cost of a day's probes."))
    with transaction():
        channel = find_channel(name)
        before = rule_of(channel)
        if before != rule:
            Channel.update(rule._asdict()).where(Channel.id == channel.id).execute()
            record_audit_entry(origin, "channel.probes", channel.name, before=before._asdict(), after=rule._asdict())
            bump_catalog_version()
        return Channel.get_by_id(channel.id)


def restart_comparison(name: str, model: str, *, origin: Origin) -> None:
    """Discard the verdict and the current run of a model on a channel, for example after its provider fixed something."""
    with transaction():
        channel = find_channel(name)
        row = _comparison(channel.id, model)
        if row is None:
            raise NotFound(lazy_gettext("{model} on {channel} has not been compared yet.", model=model, channel=name))
        before = {"verdict": row.verdict}
        _update(row, evidence={}, verdict_evidence={}, verdict=None, compared_at=None)
        record_audit_entry(origin, "channel.compare", f"{model} on {channel.name}", before=before, after={"verdict": None})
        bump_catalog_version()


def claim_probe(now: int, random: Random) -> ClaimedProbe | None:
    """Return the next probe that is due and within its channel's budget, or None. No other process gets the same one.

    Probes are spread over the day, at random intervals.
    """
    compared = _compared_routes(now)
    by_channel: dict[UUID, list[tuple[ChannelModel, ChannelModel]]] = {}
    for route, reference in compared:
        by_channel.setdefault(route.channel.id, []).append((route, reference))
    for routes in by_channel.values():
        channel = routes[0][0].channel
        interval = DAY_MS * len(routes) / channel.daily_probes
        for route, reference in routes:
            row = _prepared(route, reference, now, int(random.uniform(0, interval)))
            if row.due_at > now:
                continue
            is_due = _key(row) & (ChannelComparison.due_at <= now)
            due_at = now + int(interval * random.uniform(0.5, 1.5))
            if not ChannelComparison.update(due_at=due_at).where(is_due).execute() or not _is_within_budget(channel, now):
                continue
            evidence = read_evidence(row.evidence)
            return ClaimedProbe(route_of(reference), route_of(route), route.model.id, evidence.probes)
    return None


def record_probe(probe: ClaimedProbe, result: ProbeResult, now: int) -> str | None:
    """Add a result to the sums and to the run. Returns the verdict if it ended the run and differs from the one before."""
    with transaction():
        add_sums(probe.route.channel, probe.model, result.shape, result.observation, result.cost, now)
        row = _comparison(probe.route.channel, probe.model, lock=True)
        if row is None or row.reference != probe.reference.channel:  # removed, or compared with another channel meanwhile
            return None
        evidence = read_evidence(row.evidence).plus(result.observation.differing, result.observation.choice)
        if not evidence.is_done:
            _update(row, evidence=evidence.to_json())
            return None
        before, verdict = row.verdict, "different" if evidence.is_different else "same"
        _update(
            row, evidence={}, started_at=now, verdict=verdict, compared_at=now, verdict_evidence=evidence.to_json()
        )  # fmt: skip
        if verdict == before:
            return None
        after = {
            "verdict": verdict,
            "reference": probe.reference.channel_name,
            "probes": evidence.probes,
            "e_value": float(f"{evidence.value():.4g}"),
            "differences": {kind: counts._asdict() for kind, counts in evidence.differences.items()},
        }
        target = f"{probe.model} on {probe.route.channel_name}"
        record_audit_entry(ORIGIN, "channel.compare", target, before={"verdict": before}, after=after)
        bump_catalog_version()
        return verdict


def record_failure(channel: UUID, model: str, cost: int, now: int) -> None:
    """Count a probe that failed."""
    with transaction():
        _add(now - now % DAY_MS, channel, model, {ALL_PROBES: {"probes": 1, "failed": 1, "provider_cost": cost}})


def add_sums(channel: UUID, model: str, shape: str, observation: Observation, cost: int, now: int) -> None:
    """Add a probe to the sums of its day."""
    found: dict[str, dict[str, int]] = {ALL_PROBES: {"probes": 1, "provider_cost": cost}}
    for kind, who in observation.differing.items():
        found[kind] = {"probes": 1, "differing": int(who == "channel"), "reference_differing": int(who == "reference")}
    if observation.passed is not None and (kind := PASSED_KINDS[shape]) in found:
        own, reference = observation.passed
        found[kind] |= {"passed": int(own), "reference_passed": reference}
    _add(now - now % DAY_MS, channel, model, found)


def delete_old(now: int) -> int:
    """Delete sums older than `KEPT_DAYS`, and comparisons of routes that no longer exist. Returns the number of rows."""
    links = ChannelModel.select().where(
        (ChannelModel.channel == ChannelComparison.channel) & (ChannelModel.model == ChannelComparison.model)
    )
    deleted: int = ProbeSum.delete().where(ProbeSum.day < now - KEPT_DAYS * DAY_MS).execute()
    return deleted + int(ChannelComparison.delete().where(~fn.EXISTS(links)).execute())


class ComparedModel(NamedTuple):
    """A model on a channel, for its page. `reference` is None if no reference channel serves the model."""

    model: str
    reference: Channel | None
    row: ChannelComparison | None
    run: Evidence
    last_run: Evidence

    @property
    def is_different(self) -> bool:
        return self.row is not None and self.row.verdict == "different"


def compared_models(channel: UUID) -> list[ComparedModel]:
    """Return the chat models of a channel with their comparisons, by id."""
    references = _references()
    links = (
        ChannelModel.select(ChannelModel, AIModel)
        .join(AIModel)
        .where((ChannelModel.channel == channel) & (AIModel.kind == "chat"))
    )
    rows = {row.model: row for row in ChannelComparison.select().where(ChannelComparison.channel == channel)}
    found = []
    for link in links.order_by(AIModel.id):
        row, reference = rows.get(link.model.id), references.get(link.model.id)
        run, last = (read_evidence(row.evidence), read_evidence(row.verdict_evidence)) if row else (Evidence(), Evidence())
        found.append(ComparedModel(link.model.id, reference.channel if reference else None, row, run, last))
    return found


def different_channels() -> set[UUID]:
    """Return the channels on which a model differs from its reference."""
    rows: Any = ChannelComparison.select(ChannelComparison.channel).where(ChannelComparison.verdict == "different").tuples()
    return {channel for (channel,) in rows}


def daily_sums(channel: UUID, since: int) -> list[ProbeSum]:
    """Return the sums of a channel's models from the day of `since` on, oldest first."""
    wanted = (ProbeSum.channel == channel) & (ProbeSum.day >= since - since % DAY_MS)
    return list(ProbeSum.select().where(wanted).order_by(ProbeSum.day, ProbeSum.model, ProbeSum.kind))


def chart_rows(sums: Iterable[ProbeSum], now: int, days: int) -> list[tuple[int, int, int]]:
    """Return for each of the last days its start, and how often the channel's or one of the reference's replies differed.

    A probe counts once for each kind of evidence.
    """
    first = now - now % DAY_MS - (days - 1) * DAY_MS
    found = {first + DAY_MS * number: [0, 0] for number in range(days)}
    for row in sums:
        if row.kind != ALL_PROBES and row.day in found:
            found[row.day][0] += row.differing
            found[row.day][1] += row.reference_differing
    return [(day, own, reference) for day, (own, reference) in found.items()]


def total_sums(sums: Iterable[ProbeSum]) -> dict[str, Counter[str]]:
    """Return the totals of all days and models by kind."""
    found: dict[str, Counter[str]] = {}
    for row in sums:
        found.setdefault(row.kind, Counter()).update({name: getattr(row, name) for name in _COUNTS})
    return found


def find_routes(name: str, reference: str, model: str | None) -> tuple[Route, Route, str]:
    """Return the routes of two channels for a chat model, and its id; `model` may be omitted if they share only one.

    The first is that of the reference. Raises `NotFound` and `InvalidInput`.
    """
    own, other = (_links(find_channel(each)) for each in (name, reference))
    shared = sorted(set(own) & set(other)) if model is None else [model]
    if len(shared) != 1:
        raise InvalidInput(
            lazy_gettext(
                "The channels share {count} chat models. Name one of them: {models}", count=len(shared), models=", ".join(shared)
            )
        )
    for channel, links in ((name, own), (reference, other)):
        if shared[0] not in links:
            raise NotFound(lazy_gettext("{channel} does not serve the chat model {model}.", channel=channel, model=shared[0]))
    return route_of(other[shared[0]]), route_of(own[shared[0]]), shared[0]


def _links(channel: Channel) -> dict[str, ChannelModel]:
    wanted = (ChannelModel.channel == channel) & (AIModel.kind == "chat")
    return {link.model.id: link for link in _select_links().where(wanted)}


def _select_links() -> Any:
    return ChannelModel.select(ChannelModel, Channel, AIModel).join(Channel).switch(ChannelModel).join(AIModel)


def _compared_routes(now: int) -> list[tuple[ChannelModel, ChannelModel]]:
    """Return the active routes of channels with probes, each with the route of its reference."""
    serving = Channel.out_until.is_null() | (Channel.out_until <= now)
    active = (ChannelModel.status == "active") & (Channel.status == "active") & (AIModel.status == "active")
    wanted = active & serving & (AIModel.kind == "chat") & (Channel.daily_probes > 0) & ~Channel.is_reference
    links = list(_select_links().where(wanted).order_by(Channel.name, AIModel.id))
    references = _references() if links else {}
    return [(link, references[link.model.id]) for link in links if link.model.id in references]


def _references() -> dict[str, ChannelModel]:
    """Return the reference of each model: the active route of highest priority to a reference channel."""
    active = (ChannelModel.status == "active") & (Channel.status == "active") & Channel.is_reference
    found: dict[str, ChannelModel] = {}
    for link in _select_links().where(active).order_by(ChannelModel.priority, Channel.name):
        found.setdefault(link.model.id, link)
    return found


def _prepared(route: ChannelModel, reference: ChannelModel, now: int, delay_ms: int) -> ChannelComparison:
    """Return the comparison of a route. It starts over if the route is new or the reference changed."""
    row = _comparison(route.channel.id, route.model.id)
    if row is None:
        values = {"channel": route.channel.id, "model": route.model.id, "reference": reference.channel.id}
        ChannelComparison.insert(
            **values, due_at=now + delay_ms, started_at=now, evidence={}, verdict_evidence={}
        ).on_conflict_ignore().execute()
    elif row.reference != reference.channel.id:
        _update(row, reference=reference.channel.id, evidence={}, verdict_evidence={}, verdict=None, compared_at=None)
    else:
        return row
    return ChannelComparison.get((ChannelComparison.channel == route.channel.id) & (ChannelComparison.model == route.model.id))


def _is_within_budget(channel: Channel, now: int) -> bool:
    """Return whether a day's budget has room for another probe. Its last probe may exceed the credits."""
    today = (ProbeSum.day == now - now % DAY_MS) & (ProbeSum.channel == channel.id) & (ProbeSum.kind == ALL_PROBES)
    probes, cost = ProbeSum.select(fn.SUM(ProbeSum.probes), fn.SUM(ProbeSum.provider_cost)).where(today).scalar(as_tuple=True)
    return (probes or 0) < channel.daily_probes and (cost or 0) < channel.daily_probe_credits


def _add(day: int, channel: UUID, model: str, by_kind: Mapping[str, Mapping[str, int]]) -> None:
    for kind, counts in by_kind.items():
        ProbeSum.insert(day=day, channel=channel, model=model, kind=kind, **counts).on_conflict(
            conflict_target=[ProbeSum.day, ProbeSum.channel, ProbeSum.model, ProbeSum.kind],
            update={name: getattr(ProbeSum, name) + count for name, count in counts.items()},
        ).execute()


def _comparison(channel: UUID, model: str, *, lock: bool = False) -> ChannelComparison | None:
    query = ChannelComparison.select().where((ChannelComparison.channel == channel) & (ChannelComparison.model == model))
    row: ChannelComparison | None = (query.for_update() if lock and not is_sqlite() else query).first()
    return row


def _key(row: ChannelComparison) -> Any:
    return (ChannelComparison.channel == row.channel) & (ChannelComparison.model == row.model)


def _update(row: ChannelComparison, **values: Any) -> None:
    ChannelComparison.update(values).where(_key(row)).execute()
