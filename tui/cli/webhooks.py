"""`hopsmeter webhooks …`: what Stripe told, what became of it, and having it handled again."""

from typing import Final

import click

from core.clock import parse_instant
from core.commands.arguments import WebhooksReplay
from core.reports.webhooks import LINES_MAX, STATES, EventLine, Wanted, event_line, event_lines
from tui.cli.asking import ask, writing
from tui.cli.output import Column, Form, instant, listing, pairs, plain, show, show_json
from tui.cli.session import Session
from tui.cli.words import INSTANT_TEXT

LINES: Final = 50


@click.group(
    short_help="What Stripe told, and what became of it.",
    epilog="\b\nExamples:\n  hopsmeter webhooks list --state 'given up'\n"
    "  hopsmeter webhooks show evt_1Qx…\n  hopsmeter webhooks replay evt_1Qx…",
)
def webhooks() -> None:
    """Events from Stripe: verified, stored under their id, then handled once.

    They are due (to be handled, or tried again), done, unknown (nothing is done for their type, mode
    or account) or given up (tried for a week in vain).
    """


@webhooks.command(
    "list",
    short_help="The newest events, and what became of each.",
    epilog="\b\nExamples:\n  hopsmeter webhooks list --type 'invoice.*' --since 2026-03-01\n"
    "  hopsmeter webhooks list --state due --json",
)
@click.option("--state", type=click.Choice(STATES), help="Only events in this state.")
@click.option("--type", "type_", metavar="TYPE", help="Only of this type; it may end with *.")
@click.option("--since", type=INSTANT_TEXT, metavar="TIME", help="Only those that came since then.")
@click.option(
    "--limit",
    type=click.IntRange(1, LINES_MAX),
    default=LINES,
    show_default=True,
    help="How many, the newest.",
)
@listing
@click.pass_obj
def list_(
    session: Session,
    state: str | None,
    type_: str | None,
    since: str | None,
    limit: int,
    form: Form,
) -> None:
    """The newest events, and what became of each."""
    wanted = Wanted(state, type_, parse_instant(since) if since else None)
    with session.connection(read_only=True) as connection:
        found = event_lines(connection, session.principal(connection), wanted, limit)
    show(form, found, _COLUMNS, empty="No such event came.")


@webhooks.command(
    "show",
    short_help="All that is kept of an event.",
    epilog="\b\nExample:\n  hopsmeter webhooks show evt_1Qx…",
)
@click.argument("event", metavar="EVENT")
@listing
@click.pass_obj
def show_(session: Session, event: str, form: Form) -> None:
    """All that is kept of an event: ids, since its body may hold secrets of clients."""
    with session.connection(read_only=True) as connection:
        found = event_line(connection, session.principal(connection), event)
    if form == "json":
        show_json(plain(found))
    elif form == "csv":
        show(form, [found], (), empty="")
    else:
        _tell(found)


@webhooks.command(
    "replay",
    short_help="Have events handled again.",
    epilog="\b\nExamples:\n  hopsmeter webhooks replay evt_1Qx…\n"
    "  hopsmeter webhooks replay --state 'given up' --dry-run",
)
@click.argument("event", metavar="[EVENT]", required=False)
@click.option("--state", type=click.Choice(STATES), help="All events in this state.")
@click.option("--type", "type_", metavar="TYPE", help="All of this type; it may end with *.")
@click.option("--since", type=INSTANT_TEXT, metavar="TIME", help="All that came since then.")
@writing()
@click.pass_obj
def replay(
    session: Session,
    event: str | None,
    state: str | None,
    type_: str | None,
    since: str | None,
    *,
    dry_run: bool,
    why: str,
) -> None:
    """Have events handled again; what was done already is not done twice.

    One by its id, or all that fit --state, --type and --since.
    """
    others = (state, type_, since)
    if event and any(others):
        raise click.UsageError("Both an event and which ones were given; choose one.")
    if not event and not any(others):
        raise click.UsageError("Name an event, or say which by --state, --type or --since.")
    given = WebhooksReplay(event=event, state=state, type=type_, since=since)
    ask(session, "webhooks.replay", given, dry_run=dry_run, why=why)


def _tell(found: EventLine) -> None:
    pairs(
        [
            ("event", found.event_id),
            ("type", found.type),
            ("state", found.state),
            ("said", found.said),
            ("error", found.error),
            ("note", found.note),
            ("tries", str(found.tries)),
            ("next try", instant(found.next_try_at)),
            ("happened", instant(found.created_at)),
            ("came", f"{instant(found.received_at)}, {_came(found)}"),
            ("done", instant(found.done_at)),
            ("about", _about(found)),
            ("mode", {True: "live", False: "test", None: ""}[found.livemode]),
            ("API version", found.api_version),
            ("SHA-256", found.body_sha256),
        ]
    )


def _came(found: EventLine) -> str:
    if found.deliveries == 0:
        return "fetched from Stripe's list, never delivered"
    times = "once" if found.deliveries == 1 else f"{found.deliveries} times"
    return f"delivered {times}{', first fetched' if found.came == 'fetched' else ''}"


def _about(found: EventLine) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.about.items())


def _outcome(found: EventLine) -> str:
    """Say of an event that waits why it does, of another what it came to."""
    said = found.error if found.state in ("due", "given up") else found.said
    return "; ".join(filter(None, (said, found.note)))


_COLUMNS: Final = (
    Column("came", lambda each: instant(each.received_at)),
    Column("event", lambda each: each.event_id, below=True),
    Column("type", lambda each: each.type),
    Column("about", lambda each: each.subject, below=True),
    Column("state", lambda each: each.state),
    Column("tries", lambda each: str(each.tries), "right"),
    Column("outcome", _outcome, below=True),
)
