"""`hopsmeter hours …`: the map of completeness, and the decisions about single hours."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click

from core.clock import DAY, HOUR, floor_hour, hour_text
from core.commands.arguments import Collect, HourDecide
from core.reports.hours import Elsewhere, HourStrip, cluster_hours, elsewhere, hours_map
from tui.cli.asking import ask, writing
from tui.cli.failing import Told
from tui.cli.following import follow
from tui.cli.output import Form, listing, say, show
from tui.cli.session import Session
from tui.cli.trouble import Trouble, in_short, tell, troubles
from tui.cli.words import HOUR_TEXT
from tui.format import clean
from tui.signs import HOURS

ALL_HOURS: Final = 48
ONE_DAYS: Final = 14
DAYS_MAX: Final = 400
TROUBLES_MAX: Final = 20
"""Told in full; the newest ones."""
WIDTH: Final = 80


class _HoursGroup(click.Group):
    """`hours [CLUSTER]` draws the map; a word that is no subcommand is a cluster."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["map", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_HoursGroup,
    short_help="What is in the books, what is missing, and why.",
    epilog="\b\nExamples:\n  hopsmeter hours\n  hopsmeter hours eu-1 --days 30\n"
    "  hopsmeter hours accept eu-1 2026-03-01T14Z --reason 'a real burst'",
)
def hours() -> None:
    """The hours of each cluster: what is in the books, what is missing, and why.

    `hours [CLUSTER]` draws the map.
    """


@hours.command(
    "map",
    short_help="Draw the map, and tell each trouble.",
    epilog="\b\nExample:\n  hopsmeter hours map eu-1 --days 30",
)
@click.argument("cluster", required=False)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    help="How far back.  [the newest 48 hours; of one cluster 14 days]",
)
@listing
@click.pass_obj
def map_(session: Session, cluster: str | None, days: int | None, form: Form) -> None:
    """Draw the map of all clusters, or of one with what is the matter with its hours."""
    now = session.now()
    until = floor_hour(now)
    since = _since(until, ONE_DAYS if cluster and not days else days)
    with session.connection(read_only=True) as connection:
        strips = hours_map(connection, since, until, now, cluster=cluster)
        if cluster is not None and not strips:
            raise Told(f"There is no cluster {cluster!r}; `hopsmeter cluster list` shows all.")
        wanted = [each.cluster for each in strips if form != "table" or cluster or _wrong(each)]
        left_out = elsewhere(connection, since, cluster=cluster)
        lines = [
            line
            for name in wanted
            for line in reversed(cluster_hours(connection, name, since, until, now))
        ]
    if form != "table":
        show(form, lines, (), empty="")
    elif not strips:
        click.echo("No cluster yet; `hopsmeter cluster add` registers one.")
    else:
        _draw(strips)
        _tell_troubles(troubles(lines), one=cluster is not None)
        for each in left_out:
            _tell_elsewhere(each, until)


def _since(until: datetime, days: int | None) -> datetime:
    """Return the midnight from which to draw: whole days are a line each."""
    if days is None:
        return (until - ALL_HOURS * HOUR).replace(hour=0)
    return until.replace(hour=0) - DAY * (days - 1)


def _wrong(strip: HourStrip) -> bool:
    return not {"failed", "refused", "held", "gap"}.isdisjoint(strip.states)


def _draw(strips: Sequence[HourStrip]) -> None:
    """Print a line of 24 signs for each cluster and day, and the legend."""
    width = max(len(strip.cluster) for strip in strips)
    click.echo(f"{'':<{width}}  {'UTC':<10}  00     06     12     18")
    for strip in strips:
        began = next((at for at, state in enumerate(strip.states) if state != "none"), None)
        if began is None:
            click.echo(clean(f"{strip.cluster:<{width}}  no hour is closed yet"))
            continue
        for start in range(began - began % 24, len(strip.states), 24):
            day = strip.since + HOUR * start
            signs = "".join(HOURS[state].glyph for state in strip.states[start : start + 24])
            quarters = " ".join(signs[at : at + 6] for at in range(0, len(signs), 6))
            click.echo(clean(f"{strip.cluster:<{width}}  {day:%Y-%m-%d}  {quarters}").rstrip())
    counts = Counter[str](state for strip in strips for state in strip.states if state != "none")
    told = [f"{HOURS[state].glyph} {state} {counts[state]}" for state in HOURS if counts[state]]
    click.echo()
    for line in _joined(told):
        click.echo(line)


def _joined(words: Sequence[str]) -> list[str]:
    """Set words side by side, as many on a line as there is room for."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= WIDTH:
            lines[-1] += f"  {word}"
        else:
            lines.append(word)
    return lines


def _tell_troubles(found: Sequence[Trouble], *, one: bool) -> None:
    if found:
        click.echo()
    if not one:
        for name in sorted({each.cluster for each in found}):
            click.echo(f"{name}: {in_short([each for each in found if each.cluster == name])}")
            click.echo(f"  → `hopsmeter hours {name}` tells why, and the way out.")
        return
    if len(found) > TROUBLES_MAX:
        earlier = len(found) - TROUBLES_MAX
        click.echo(f"{earlier} earlier troubles are left out; --json has them all.")
    for each in found[-TROUBLES_MAX:]:
        for line in tell(each):
            click.echo(line)


def _tell_elsewhere(of: Elsewhere, until: datetime) -> None:
    """A map of a few days must not look as if all were well where it is not."""
    if of.trouble:
        again = f"; asked again at {of.next_visit_at:%H:%M} UTC" if of.next_visit_at else ""
        say(f"{of.cluster} is left alone{again}: {of.trouble}", hang=2)
    counts = {
        "failed": of.failed,
        "refused": of.refused,
        "held": of.held,
        "gap": of.gaps,
        "due": of.due,
    }
    if of.first is None:
        return
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    days = min((until.date() - of.first.date()).days + 1, DAYS_MAX)
    click.echo(clean(f"{of.cluster}: before these days, since {hour_text(of.first)}: {told}."))
    click.echo(clean(f"  → `hopsmeter hours {of.cluster} --days {days}` shows them, and why."))


def _decision(word: str, short: str, help_text: str, example: str) -> None:
    """Add `hours accept`, `keep` and `gap`, which differ in a word."""

    @hours.command(
        word,
        short_help=short,
        help=help_text,
        epilog=f"\b\nExample:\n  hopsmeter hours {example}",
    )
    @click.argument("cluster")
    @click.argument("at", metavar="HOUR", type=HOUR_TEXT)
    @writing(reason=True)
    @click.pass_obj
    def decide(session: Session, cluster: str, at: str, dry_run: bool, why: str) -> None:
        given = HourDecide(cluster=cluster, hour=at)
        ask(session, f"hours.{word}", given, dry_run=dry_run, why=why)


_decision(
    "accept",
    "Take an answer that was refused or held.",
    "Take the answer that was refused or held, where only judgement was against it.",
    "accept eu-1 2026-03-01T14Z --reason 'a real burst' --dry-run",
)
_decision(
    "keep",
    "Keep what the books hold instead.",
    "Keep what the books hold of an hour whose later answer was held.",
    "keep eu-1 2026-03-01T14Z --reason 'Prometheus was moved'",
)
_decision(
    "gap",
    "Give an hour up: lost, never zero.",
    "Give up an hour of which nothing is stored: lost, never zero.\n\n"
    "Customers read it: their statements tell its reason.",
    "gap eu-1 2026-03-01T14Z --reason 'its disk is lost'",
)


@click.command(
    short_help="Have hours read now.",
    epilog="\b\nExamples:\n  hopsmeter collect\n  hopsmeter collect eu-1 --since 2026-03-01T00Z",
)
@click.argument("cluster", required=False)
@click.option("--hour", "at", type=HOUR_TEXT, metavar="HOUR", help="This hour, whatever its state.")
@click.option(
    "--since", type=HOUR_TEXT, metavar="HOUR", help="All from this hour on but what was waived."
)
@click.option("--no-wait", is_flag=True, help="Only ask; do not wait for the answers.")
@writing()
@click.pass_obj
def collect(
    session: Session,
    cluster: str | None,
    at: str | None,
    since: str | None,
    no_wait: bool,
    dry_run: bool,
    why: str,
) -> None:
    """Have hours read now, and wait for them: those that are missing, one, or all since one.

    Hours that are in the books already are read again: an unchanged answer changes nothing.
    Exit code 0 if all are in the books, 1 if some are not, 3 if it goes on without us.
    """
    if at and since:
        raise click.UsageError("Choose --hour or --since.")
    asked = ask(session, "collect", _collect(cluster, at, since), dry_run=dry_run, why=why)
    if not no_wait and not dry_run:
        follow(session, asked.result or {})


def _collect(cluster: str | None, at: str | None, since: str | None) -> Collect:
    given: dict[str, Any] = {"cluster": cluster}
    if at:
        given["hour"] = at
    if since:
        given["since"] = since
    return Collect(**given)
