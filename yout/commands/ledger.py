"""`yout ledger`: verify, export and seal the ledger, renew plans and release abandoned holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shared.core.settings import Settings
from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "ledger", "verify and maintain the ledger")
    help = "check every balance against its ledger entries, every entry against the one before it, and find stale holds"
    verify = add_command(verbs, "verify", help, _verify, database=False)
    verify.add_argument("--dump", type=Path, metavar="FILE", help="check a dump instead, without the database")
    verify.add_argument("--heads", type=Path, metavar="FILE", help="published heads that the dump must lead to")
    export = add_command(verbs, "export", "write the whole ledger to a file that can be checked without the database", _export)
    export.add_argument("file", type=Path, help="the file to write, JSON lines; an existing one is replaced")
    add_command(verbs, "seal", "sign one hash of all entries that are new since the last seal, as workers do daily", _seal)
    add_command(verbs, "renew", "start due plan periods, as workers do", _renew)
    add_command(verbs, "sweep", "release credits held by abandoned calls", _sweep)


def _verify(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger.verify import verify_ledger
    from yout.command_database import database_session

    if call.arguments.dump is not None:
        return _verify_dump(call.arguments.dump, call.arguments.heads)
    if call.arguments.heads is not None:
        raise UsageError("pass --dump with --heads")
    with database_session(call.settings):
        report = verify_ledger(now_ms(), call.settings.secret_key)
        different, notes = _compare_seals(call.settings)
    problems = [*report.problems, *different]
    clean = not problems
    data = {"id": "ledger", "clean": clean, **report._asdict(), "problems": problems, "notes": notes}
    counts = f"{report.accounts} accounts, {report.entries} ledger entries, {report.open_holds} open holds"
    if report.unwitnessed:
        counts += f", {report.unwitnessed} entries of older releases without a hash"
    text = "\n".join([*problems, *_sentences(notes), f"{counts}: {'everything adds up' if clean else 'PROBLEMS FOUND'}."])
    return Result(data, text, exit_code=0 if clean else 1)


def _compare_seals(settings: Settings) -> tuple[list[str], list[str]]:
    """Return how seals differ from those in the media store, or a note that they could not be compared."""
    from shared.core.errors import StorageUnavailable
    from shared.files.storage import open_storage
    from shared.operations.ledger_seals import compare_stored_seals

    try:
        return compare_stored_seals(open_storage(settings)), []
    except (StorageUnavailable, OSError):
        return [], ["the media store is unavailable, so its seals were not compared"]


def _sentences(notes: Sequence[str]) -> list[str]:
    return [f"Note: {note}." for note in notes]


def _verify_dump(dump: Path, heads: Path | None) -> Result:
    """Check a dump up to its first problem."""
    import json

    from shared.core.errors import InvalidInput
    from shared.ledger.dump_check import DumpCheck

    try:
        published = None if heads is None else json.loads(heads.read_bytes())
        check = DumpCheck(published)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInput(f"{heads} is not a file of published heads.") from None
    with dump.open("rb") as file:
        problem = next(check.run(file), None)
    data = {"id": "ledger", "clean": problem is None, **check.counts, "problems": [problem] if problem else []}
    data |= {"folded_accounts": check.folded, "notes": check.notes}
    if problem is not None:
        return Result(data, f"{problem}.", exit_code=1)
    counts = ", ".join(f"{count} {name}" for name, count in check.counts.items())
    return Result(
        data, "\n".join([*(f"{line}." for line in check.folded), *_sentences(check.notes), f"{counts}: everything adds up."])
    )


def _export(call: CommandContext) -> Result:
    import os

    from shared.core.clock import now_ms
    from shared.ledger.dump import write_dump

    path = call.arguments.file.absolute()
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            lines = write_dump(file, now_ms(), call.settings.secret_key)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Result({"id": "ledger", "file": str(path), "lines": lines}, f"Wrote {lines} lines to {path}.")


def _seal(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.operations.ledger_seals import seal_and_store

    document = seal_and_store(call.settings, now_ms())
    head = document["head"]
    text = f"Seal {head['number']} covers {head['leaves']} accounts with new entries: root {head['root']}."
    return Result({"id": str(head["number"]), **document}, text)


def _sweep(_call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import sweep

    expired = sweep(now_ms())
    return Result({"id": "ledger", "expired": expired}, f"Released {expired} abandoned holds.")


def _renew(_call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.ledger import renew_subscriptions

    renewed = renew_subscriptions(now_ms())
    return Result({"id": "ledger", "renewed": renewed}, f"Started or ended {renewed} plan periods.")
