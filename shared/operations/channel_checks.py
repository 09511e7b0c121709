"""Checks of channels: the margin of their calls, and their providers' token counts, over the last day.

A channel is flagged if its margin is below its floor, or if the provider's counts differ from ours by more than its tolerance.
If its rule says so, it is paused, too. Staff set the rule and resume the channel; calls before that are not checked again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.database import is_sqlite, transaction
from shared.core.formats import MINUS
from shared.models import AIModel, Channel, ChannelCheck
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.channels import find_channel
from shared.operations.model_routes import MAX_PAUSE_MS, pause_channel
from shared.operations.validation import check_integer
from shared.rollup import Scope, Tally, TimeSpan, TokenSums, read_figures, read_token_samples

DAY_MS = 24 * 3_600_000
MIN_CALLS = 20  # fewer calls of a day are not enough to flag a channel
MIN_TOKENS = 10_000  # fewer sampled tokens are not enough, either
SLACK_TOKENS = 4  # of each sampled call: providers count a few control tokens in their own way
ORIGIN = Origin("channel check")
_SUMS = ("calls", "costed_credits", "provider_cost", "sampled_calls", *TokenSums._fields[1:])


class Rule(NamedTuple):
    """When a channel is flagged, in percent, and whether it is paused then."""

    margin_floor: int
    count_tolerance: int
    pauses_when_flagged: bool


def update_rule(name: str, rule: Rule, *, origin: Origin) -> Channel:
    """Change a channel's rule. It applies from the next check on. Raises `NotFound`, and `InvalidInput` for invalid values."""
    check_integer("margin floor (percent)", rule.margin_floor, -1_000, 100)
    check_integer("count tolerance (percent)", rule.count_tolerance, 1, 100)
    with transaction():
        channel = find_channel(name)
        before = {field: getattr(channel, field) for field in Rule._fields}
        if before != rule._asdict():
            Channel.update(rule._asdict()).where(Channel.id == channel.id).execute()
            record_audit_entry(origin, "channel.rule", channel.name, before=before, after=rule._asdict())
        return Channel.get_by_id(channel.id)


def find_problems(rule: Rule, tally: Tally, samples: TokenSums) -> list[str]:
    """Return the reasons to flag a channel, of `shared.models.CHANNEL_PROBLEMS`. Pure."""
    problems = []
    if tally.calls >= MIN_CALLS and (tally.costed_credits - tally.provider_cost) * 100 < rule.margin_floor * tally.costed_credits:
        problems.append("margin")
    sides = ((samples.counted_input, samples.reported_input), (samples.counted_output, samples.reported_output))
    slack = SLACK_TOKENS * samples.calls
    if samples.calls >= MIN_CALLS and any(
        counted >= MIN_TOKENS and (abs(reported - counted) - slack) * 100 > rule.count_tolerance * counted
        for counted, reported in sides
    ):
        problems.append("counts")
    return problems


def check_channels(now: int) -> list[str]:
    """Check the enabled channels that are not paused, and return the names of those newly flagged. Safe to run in parallel."""
    rows: Any = AIModel.select(AIModel.id).where(AIModel.is_free).tuples()
    free = {id for (id,) in rows}
    used = read_figures(Scope(), TimeSpan(now - DAY_MS, now), "channel", now).groups
    is_open = Channel.out_until.is_null() | (Channel.out_until <= now)
    checks: Any = ChannelCheck.select(ChannelCheck.channel, ChannelCheck.since).tuples()
    since_of = dict(checks)
    flagged = []
    for channel in Channel.select().where((Channel.status == "active") & is_open):
        tally, samples = Tally(), TokenSums()
        if channel.id in used:
            since = max(now - DAY_MS, since_of.get(channel.id, 0))
            tally = _tally(channel.id, TimeSpan(since, now), now, free)
            samples = read_token_samples(channel.id, since, now)
        elif channel.id not in since_of:
            continue
        if _store(channel, tally, samples, now):
            flagged.append(channel.name)
    return flagged


def _tally(channel: UUID, span: TimeSpan, now: int, free: Collection[str]) -> Tally:
    """Return the channel's figures without those of free models, whose margin is negative by design."""
    total = Tally()
    for model, tally in read_figures(Scope(channel=channel), span, "model", now).groups.items():
        if model not in free:
            total = total.plus(tally)
    return total


def _store(channel: Channel, tally: Tally, samples: TokenSums, now: int) -> bool:
    """Store a check. Returns whether the channel is newly flagged; then it is recorded. It is paused if its rule says so."""
    sums = dict(zip(_SUMS, (tally.calls, tally.costed_credits, tally.provider_cost, *samples), strict=True))
    with transaction():
        query = Channel.select().where(Channel.id == channel.id)
        locked = query.first() if is_sqlite() else query.for_update().first()
        if locked is None or (locked.out_until or 0) > now:  # deleted or paused meanwhile
            return False
        rule = rule_of(locked)
        problems = find_problems(rule, tally, samples)
        before = ChannelCheck.get_or_none(ChannelCheck.channel == channel)
        known = list(before.problems) if before else []
        flagged_at = (before.flagged_at if before and known else now) if problems else None
        values: dict[str, Any] = {**sums, "problems": problems, "flagged_at": flagged_at, "checked_at": now}
        row = ChannelCheck(channel=channel, **values)
        if before is None:
            row.save(force_insert=True)
        else:
            ChannelCheck.update(values).where(ChannelCheck.channel == channel).execute()
        is_new = bool(set(problems) - set(known))
        if is_new:
            after = {"problems": problems, **sums}
            record_audit_entry(ORIGIN, "channel.flag", channel.name, before={"problems": known}, after=after)
        if problems and rule.pauses_when_flagged:
            pause_channel(channel.name, MAX_PAUSE_MS, " ".join(describe_problems(row, rule)), origin=ORIGIN)
        return is_new


def rule_of(channel: Channel) -> Rule:
    """Return the rule of a channel."""
    return Rule(channel.margin_floor, channel.count_tolerance, channel.pauses_when_flagged)


def flagged_channels() -> list[tuple[Channel, list[str]]]:
    """Return the flagged channels that are not disabled, by name, and the sentences that say why."""
    columns = (Channel.id, Channel.name, *(getattr(Channel, name) for name in Rule._fields))  # without the secret
    rows = ChannelCheck.select(ChannelCheck, *columns).join(Channel)
    rows = rows.where(ChannelCheck.flagged_at.is_null(False) & (Channel.status == "active"))
    return [(row.channel, describe_problems(row, rule_of(row.channel))) for row in rows.order_by(Channel.name)]


def describe_problems(check: ChannelCheck, rule: Rule) -> list[str]:
    """Return a sentence for each problem of a check."""
    sentences = {
        "margin": f"The margin of {_percent(margin_rate(check))} is below {rule.margin_floor} %.",
        "counts": f"The provider's token counts differ from ours by {_percent(input_difference(check))} (input) and"
        f" {_percent(output_difference(check))} (output), more than {rule.count_tolerance} %.",
    }
    return [sentences[problem] for problem in check.problems]


def margin_rate(check: ChannelCheck) -> float | None:
    """Return the margin as a share of the credits, or None without credits."""
    return (check.costed_credits - check.provider_cost) / check.costed_credits if check.costed_credits else None


def input_difference(check: ChannelCheck) -> float | None:
    """Return by which share of our count the provider counts more input, or None without samples."""
    return (check.reported_input - check.counted_input) / check.counted_input if check.counted_input else None


def output_difference(check: ChannelCheck) -> float | None:
    """Return the same for the output."""
    return (check.reported_output - check.counted_output) / check.counted_output if check.counted_output else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %".replace("-", MINUS)
