"""How far the catch-up is, and what the books hold at its end; read as any screen reads it."""

import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from core.money import text_from_nano
from sandbox.demo.house import DemoFailed

POLL_S = 0.25
LINE_EVERY_S = 5.0
CATCH_UP_S = 600.0
ASK_AGAIN_S = 10.0

Connection = psycopg.Connection[Any]

console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)


@dataclass(frozen=True)
class ClusterState:
    name: str
    hours: int
    done: int
    unposted: int
    failures: int
    waiting: int
    """Hours that were asked for in vain and are left alone until their next try."""
    outcome: str


def say(text: str) -> None:
    console.print(Text(text))


def states(connection: Connection, clusters: Collection[str]) -> list[ClusterState]:
    rows = connection.execute(
        "SELECT c.name, count(*),"
        " count(*) FILTER (WHERE w.revision > 0 OR w.state IN ('gap', 'waived')),"
        " count(*) FILTER (WHERE w.stored_no <> w.posted_no), c.failures,"
        " count(*) FILTER (WHERE w.revision = 0 AND w.state IN ('failed', 'refused')"
        " AND w.next_try_at > clock_timestamp()),"
        " CASE WHEN c.failures > 0 THEN c.last_outcome"
        " ELSE coalesce(max(w.why) FILTER (WHERE w.state IN ('failed', 'refused')), '') END"
        " FROM hopsmeter.collection_windows w"
        " JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id"
        " WHERE c.name = ANY (%s) GROUP BY c.id ORDER BY c.id",
        [list(clusters)],
    ).fetchall()
    return [ClusterState(*row) for row in rows]


def catch_up(
    connection: Connection,
    clusters: Collection[str],
    ask_again: Callable[[ClusterState], None],
    look_round: Callable[[], None] = lambda: None,
) -> float:
    """Show the hours of these clusters arrive until none is left; return the seconds it took.

    Others are not waited for: whoever took the README's tour has added one that nothing answers for.
    `ask_again` is called for a cluster that answers badly: what an operator would do;
    `look_round` at each look, and raises where waiting is in vain.
    """
    started_s = time.monotonic()
    asked_s: dict[str, float] = {}
    with Progress(
        TextColumn("  {task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("hours"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bars: dict[str, Any] = {}
        line_s = started_s
        while time.monotonic() - started_s < CATCH_UP_S:
            look_round()
            found = states(connection, clusters)
            for state in found:
                if state.name not in bars:
                    bars[state.name] = progress.add_task(state.name, total=state.hours, note="")
                note = "answers badly" if state.failures or state.waiting else ""
                progress.update(bars[state.name], completed=state.done, note=note)
            if not console.is_terminal and time.monotonic() - line_s >= LINE_EVERY_S:
                line_s = time.monotonic()
                say("  " + ", ".join(f"{each.name} {each.done}/{each.hours}" for each in found))
            if len(found) == len(clusters) and _settled(found):
                return time.monotonic() - started_s
            for state in _stuck(found):
                if time.monotonic() - asked_s.get(state.name, -ASK_AGAIN_S) >= ASK_AGAIN_S:
                    asked_s[state.name] = time.monotonic()
                    ask_again(state)
            time.sleep(POLL_S)
    raise DemoFailed(f"The catch-up is not done after {CATCH_UP_S:.0f} s; see the daemon's log.")


def _settled(found: list[ClusterState]) -> bool:
    return all(each.done == each.hours and not each.unposted for each in found)


def _stuck(found: list[ClusterState]) -> list[ClusterState]:
    """Return clusters that failed, once nothing else is left.

    One with two hours to ask for never fails often enough in a row to count as failed itself.
    """
    behind = [each for each in found if each.done < each.hours]
    return behind if all(_waits(each) for each in behind) else []


def _waits(state: ClusterState) -> bool:
    return state.failures > 0 or state.waiting == state.hours - state.done


def summary(connection: Connection) -> None:
    """Print what the books hold, by cluster and by user."""
    rows = connection.execute(
        "SELECT c.name, c.currency, count(DISTINCT a.hour), count(DISTINCT a.namespace_id),"
        " sum(a.total_nano)::bigint,"
        " coalesce(sum(a.total_nano) FILTER (WHERE a.kind = 1), 0)::bigint,"
        " coalesce(sum(a.total_nano) FILTER (WHERE a.kind IN (2, 3, 4)), 0)::bigint,"
        " coalesce(sum(a.total_nano) FILTER (WHERE a.kind = 0), 0)::bigint"
        " FROM hopsmeter.allocations a JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id"
        " GROUP BY c.id ORDER BY c.id"
    ).fetchall()
    table = Table(title=Text("\nWhat the books hold"), title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("cluster", "hours", "namespaces", "cost", "attributed", "absorbed", "unmapped"):
        table.add_column(heading, justify="left" if heading == "cluster" else "right")
    for name, currency, hours, namespaces, *money in rows:
        sums = [f"{text_from_nano(each)} {currency}" for each in money]
        table.add_row(Text(name), str(hours), str(namespaces), *sums)
    console.print(table)
    _dearest(connection)


def _dearest(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT u.name, u.email, c.currency, count(DISTINCT d.cluster_id),"
        " sum(d.charge_nano)::bigint AS charge"
        " FROM hopsmeter.usage_daily d JOIN hopsmeter.users u ON u.no = d.user_no"
        " JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id"
        " GROUP BY u.id, c.currency ORDER BY charge DESC LIMIT 5"
    ).fetchall()
    table = Table(title=Text("Who used most"), title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("user", "e-mail", "clusters", "charge"):
        table.add_column(heading, justify="right" if heading in ("clusters", "charge") else "left")
    for name, email, currency, clusters, charge in rows:
        sums = f"{text_from_nano(charge)} {currency}"
        table.add_row(Text(name), Text(email), str(clusters), sums)
    console.print(table)
