"""What `hopsmeter explain` says of an entry of the ledger, and of an account's day."""

from collections.abc import Sequence
from typing import Any, Final

import click

from core.books.completeness import HourSpan
from core.books.entries.account_day import AccountDay
from core.books.entries.entry import Asked, Draw, EntryStory
from core.books.entries.moves import Move
from core.clock import hour_text
from core.money import text_from_nano
from tui.cli.output import Column, instant, pairs, say, table
from tui.cli.told import tell_move, tell_report, tell_told_day
from tui.format import NOTHING

DECIMALS: Final = 9
"""To the nano: this is where figures are compared."""


def tell_entry(found: EntryStory) -> None:
    """Print an entry with all that made it."""
    pairs(
        [
            ("entry", f"{found.id}, {found.what}"),
            ("account", f"{found.account} ({found.email})"),
            ("amount", f"{_exact(found.amount_nano)} {found.currency}"),
            ("moved", f"{found.contra} → {found.book}" if found.amount_nano > 0
             else f"{found.book} → {found.contra}"),
            ("stands on", str(found.posted_on)),
            ("written", instant(found.at)),
            ("of the day", f"{found.usage_day}, its posting {found.posting_no}"
             if found.usage_day else ""),
            ("key", found.key or ""),
            ("reverses", f"entry {found.reverses}" if found.reverses else ""),
            *_asked(found.asked),
        ]
    )  # fmt: skip
    click.echo("\nPosted together:")
    table(found.together, _LINES)
    if found.usage_day:
        _tell_moves(found)
    if found.report:
        tell_report(found.account, found.report, found.currency)
    if found.settled:
        tell_move(found.account, found.settled, found.currency)


def _asked(asked: Asked | None) -> list[tuple[str, str]]:
    if asked is None:
        return []
    command = f", command {asked.command_id}" if asked.command_id else ""
    return [
        ("asked by", f"{asked.actor}, {instant(asked.at)}{command}"),
        ("trail", f"row {asked.audit_id}, {asked.action}"),
        ("why", asked.why),
    ]


def _tell_moves(found: EntryStory) -> None:
    if not found.moves_kept:
        click.echo()
        say(
            "The hours of this posting were not kept: it was made before hopsmeter kept them, or"
            f" it only moved what later hours left. `hopsmeter explain '{found.account}'"
            f" {found.usage_day}` shows the day as it stands."
        )
        return
    click.echo(f"\nIt came of these hours of {found.usage_day}:")
    table(found.moves, _MOVES)
    for each in found.moves:
        if not each.is_first:
            say(_corrected(each))
    click.echo()
    say(_moved(found))


def _moved(found: EntryStory) -> str:
    charged = f"{_exact(found.charged_nano)} {found.currency}"
    if any(each.shares_free for each in found.moves):
        return (
            "What is free of these hours moves with every hour of their month: the charges above are"
            f" the present ones. The entries against revenue are {charged}."
        )
    rest = found.charged_nano - found.moved_nano
    return (
        f"The hours moved the charge by {_exact(found.moved_nano)} {found.currency}, the entries"
        f" against revenue by {_exact(found.charged_nano)}"
        + (": the same." if not rest else f"; {_exact(rest)} stand in the postings beside it.")
    )


def _corrected(move: Move) -> str:
    before = f"{_exact(move.charge_before_nano)} by {move.plan_before}" if move.plan_before else ""
    now = f"{_exact(move.charge_nano)} by {move.plan}" if move.plan else "nothing of this account"
    return (
        f"{move.cluster} {move.namespace} {hour_text(move.hour)}: revision {move.revision} replaced"
        f" revision {move.revision_before} ({move.why}): {before or 'nothing of this account'}"
        f" → {now}"
    )


def tell_day(found: AccountDay) -> None:
    """Print an account's day: entries by posting, charges by hour, what replaced what."""
    say(f"{found.account} ({found.email}), {found.day}, {found.currency}")
    click.echo("\nEntered, by posting:")
    _table_or(found.entries, _LINES, "nothing")
    click.echo("\nCharged, by namespace and hour:")
    _table_or(found.charges, _CHARGES, "nothing")
    if found.replaced:
        click.echo("\nReplaced since it was first stored:")
        table(found.replaced, _REPLACED)
    if found.told:
        tell_told_day(found.told, found.currency)
    spans = [(each.cluster, span) for each in found.hours for span in each.spans]
    if spans:
        click.echo("\nNot settled, or not in the books:")
    for cluster, span in spans:
        say(f"{cluster}: {span_words(span)}")
    click.echo()
    say(_verdict(found))


def _verdict(found: AccountDay) -> str:
    entered, charged = _exact(found.entered_nano), _exact(found.charged_nano)
    if found.entered_nano == found.charged_nano:
        return f"Entered and charged are the same: {entered} {found.currency}."
    if found.is_pending:
        return (
            f"Entered {entered}, charged {charged} {found.currency}: hours wait to be posted, which"
            " the daemon does within a minute."
        )
    return (
        f"Entered {entered}, charged {charged} {found.currency}: they differ, and nothing waits to"
        " be posted. `hopsmeter books check` says where."
    )


def span_words(span: HourSpan) -> str:
    """Return hours that are not settled as a sentence without its end."""
    when = hour_text(span.first)
    if span.hours > 1:
        when = f"{when} to {hour_text(span.last)} ({span.hours} hours)"
    return f"{when} {span.state}" + (f", {span.why}" if span.why else "")


def day_record(found: AccountDay) -> dict[str, Any]:
    """Return what --json adds to the record itself: the sums that are compared."""
    return {
        "entered_nano": found.entered_nano,
        "charged_nano": found.charged_nano,
        "agree": found.entered_nano == found.charged_nano,
    }


def _table_or(rows: Sequence[Any], columns: Sequence[Column], empty: str) -> None:
    if rows:
        table(rows, columns)
    else:
        click.echo(empty)


def _exact(nano: int | None) -> str:
    return NOTHING if nano is None else text_from_nano(nano, DECIMALS)


def _draws(draws: tuple[Draw, ...]) -> str:
    return ", ".join(
        f"lot {each.lot} ({each.kind}{f' {each.ref}' if each.ref else ''}) {_exact(each.amount_nano)}"
        for each in draws
    )


def _sha(sha256: str | None) -> str:
    return sha256 or "not kept"


_LINES = (
    Column("entry", lambda each: str(each.id), "right"),
    Column("posting", lambda each: str(each.posting_no or NOTHING), "right", below=True),
    Column("stands on", lambda each: str(each.posted_on)),
    Column("amount", lambda each: _exact(each.amount_nano), "right"),
    Column("what", lambda each: each.what),
    Column("lots", lambda each: _draws(each.draws), below=True),
)
_MOVES = (
    Column("cluster", lambda each: each.cluster),
    Column("namespace", lambda each: each.namespace),
    Column("hour", lambda each: hour_text(each.hour)),
    Column("cost", lambda each: _exact(each.cost_nano), "right", below=True),
    Column("charge", lambda each: _exact(each.charge_nano), "right"),
    Column("was", lambda each: _exact(each.charge_before_nano), "right", below=True),
    Column("plan", lambda each: each.plan or NOTHING, below=True),
    Column("SHA-256 of the answer", lambda each: _sha(each.raw_sha256), below=True),
)
_CHARGES = (
    Column("cluster", lambda each: each.cluster),
    Column("namespace", lambda each: each.namespace),
    Column("hour", lambda each: hour_text(each.hour)),
    Column("cost", lambda each: _exact(each.cost_nano), "right", below=True),
    Column("charge", lambda each: _exact(each.charge_nano), "right"),
    Column("plan", lambda each: each.plan, below=True),
    Column("rev.", lambda each: str(each.revision), "right", below=True),
    Column(
        "state", lambda each: each.state + (", to be posted" if each.is_pending else ""), below=True
    ),
    Column("SHA-256 of the answer", lambda each: _sha(each.raw_sha256), below=True),
)
_REPLACED = (
    Column("cluster", lambda each: each.cluster),
    Column("namespace", lambda each: each.namespace),
    Column("hour", lambda each: hour_text(each.hour)),
    Column("rev.", lambda each: str(each.revision), "right", below=True),
    Column("charge", lambda each: _exact(each.charge_nano), "right"),
    Column("account", lambda each: each.account or "nobody", below=True),
    Column("replaced", lambda each: instant(each.replaced_at), below=True),
    Column("why", lambda each: each.why, below=True),
    Column("SHA-256 of the answer", lambda each: _sha(each.raw_sha256), below=True),
)
