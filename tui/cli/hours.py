"""`hopsmeter hours …`: the map of completeness, and the decisions about single hours."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import click

from core.clock import DAY, HOUR, floor_hour, hour_text, parse_hour
from core.commands.arguments import Collect, HourDecide
from core.reports.hours import HourLine, HourStrip, cluster_hours, hours_map
from tui.cli.asking import ask, writing
from tui.cli.failing import Told
from tui.cli.following import follow
from tui.cli.output import Column, Form, cost, hour, instant, listing, show, table
from tui.cli.session import Session
from tui.format import clean

SIGNS: Final = {
    "settled": "■",
    "collected": "□",
    "collecting": "○",
    "due": "·",
    "failed": "×",
    "refused": "!",
    "held": "?",
    "gap": "░",
    "waived": "-",
    "none": " ",
}
"""As in the dashboard (a test compares them); its table comes with a screen library."""
ALL_DAYS: Final = 2
ONE_DAYS: Final = 14
DAYS_MAX: Final = 400
_TROUBLE: Final = ("failed", "refused", "held", "gap")


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
    "  hopsmeter hours accept eu-1 2026-03-01T14Z --reason 'a burst that was real'",
)
def hours() -> None:
    """The hours of each cluster: what is in the books, what is missing, and why.

    `hours [CLUSTER]` draws the map.
    """


@hours.command("map", epilog="\b\nExample:\n  hopsmeter hours map eu-1 --days 30")
@click.argument("cluster", required=False)
@click.option("--days", type=click.IntRange(1, DAYS_MAX), help="How far back.  [2; one cluster 14]")
@listing
@click.pass_obj
def map_(session: Session, cluster: str | None, days: int | None, form: Form) -> None:
    """Draw the map of all clusters, or of one with what is the matter with its hours."""
    now = session.now()
    until = floor_hour(now)
    since = until.replace(hour=0) - DAY * ((days or (ONE_DAYS if cluster else ALL_DAYS)) - 1)
    with session.connection(read_only=True) as connection:
        strips = hours_map(connection, since, until, now, cluster=cluster)
        if cluster is not None and not strips:
            raise Told(f"There is no cluster {cluster!r}; `hopsmeter cluster list` shows all.")
        wanted = [strip.cluster for strip in strips] if form != "table" or cluster else []
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
        _draw(strips, lines)


def _draw(strips: Sequence[HourStrip], lines: Sequence[HourLine]) -> None:
    """Print a line of 24 signs for each cluster and day, the legend, and what needs a person."""
    width = max(len(strip.cluster) for strip in strips)
    for strip in strips:
        began = next((at for at, state in enumerate(strip.states) if state != "none"), 0)
        for start in range(began - began % 24, len(strip.states), 24):
            day = strip.since + HOUR * start
            signs = "".join(SIGNS[state] for state in strip.states[start : start + 24])
            quarters = " ".join(signs[at : at + 6] for at in range(0, len(signs), 6))
            click.echo(clean(f"{strip.cluster:<{width}}  {day:%Y-%m-%d}  {quarters}").rstrip())
    counts = Counter[str](state for strip in strips for state in strip.states if state != "none")
    told = "  ".join(f"{SIGNS[state]} {state} {counts[state]}" for state in SIGNS if counts[state])
    click.echo(f"\n{told or 'No hour is closed yet.'}")
    trouble = [line for line in lines if line.state in _TROUBLE or line.flags or line.accepted]
    if trouble:
        click.echo()
        table(trouble, _TROUBLE_COLUMNS)


def _why(line: HourLine) -> str:
    parts = (
        line.why,
        f"flags: {line.flags}" if line.flags else "",
        f"accepted by {line.decided_by}" if line.accepted else "",
    )
    return "; ".join(part for part in parts if part)


def _next(line: HourLine) -> str:
    if line.state in ("refused", "held"):
        return "decide: hours accept|keep|gap"
    return instant(line.next_try_at)


_TROUBLE_COLUMNS: Final = (
    Column("hour", lambda line: hour(line.hour)),
    Column("state", lambda line: line.state),
    Column("cost", lambda line: cost(line.total_nano, line.currency), "right"),
    Column("tries", lambda line: str(line.tries), "right"),
    Column("next", _next),
    Column("why", _why),
)


def _decision(word: str, help_text: str, example: str) -> None:
    """Add `hours accept`, `keep` and `gap`, which differ in a word."""

    @hours.command(word, help=help_text, epilog=f"\b\nExample:\n  hopsmeter hours {example}")
    @click.argument("cluster")
    @click.argument("at", metavar="HOUR")
    @writing(reason=True)
    @click.pass_obj
    def decide(session: Session, cluster: str, at: str, dry_run: bool, why: str) -> None:
        given = HourDecide(cluster=cluster, hour=hour_text(parse_hour(at)))
        ask(session, f"hours.{word}", given, dry_run=dry_run, why=why)


_decision(
    "accept",
    "Take the answer that was refused or held, where only judgement was against it.",
    "accept eu-1 2026-03-01T14Z --reason 'a burst that was real' --dry-run",
)
_decision(
    "keep",
    "Keep what the books hold of an hour whose later answer was held.",
    "keep eu-1 2026-03-01T14Z --reason 'Prometheus was moved'",
)
_decision(
    "gap",
    "Give up an hour of which nothing is stored: lost, never zero.",
    "gap eu-1 2026-03-01T14Z --reason 'Prometheus had lost its disk'",
)


@click.command(
    short_help="Have hours read now.",
    epilog="\b\nExamples:\n  hopsmeter collect\n  hopsmeter collect eu-1 --since 2026-03-01T00Z",
)
@click.argument("cluster", required=False)
@click.option("--hour", "at", metavar="HOUR", help="This hour, whatever its state.")
@click.option("--since", metavar="HOUR", help="All from this hour on, whatever their state.")
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
        given["hour"] = hour_text(parse_hour(at))
    if since:
        given["since"] = hour_text(parse_hour(since))
    return Collect(**given)
