"""`hopsmeter hours`: the map, what it leaves out, and what waits for a person."""

import csv
import io
import json

from core.clock import HOUR
from tests.database import Database
from tests.factories import NOW, add_cluster, add_window
from tests.tui.cli.conftest import NEWEST, Run


def test_the_map_of_hours_names_what_waits_for_a_person(run: Run, database: Database) -> None:
    connection = database.connect()
    cluster = add_cluster(connection)
    for back, state in enumerate(("collected", "settled", "settled", "gap")):
        add_window(connection, cluster, NEWEST - HOUR * back, state)
    why = "[bold]minutes[/] are 61\x1b[31m"
    later = {"next_try_at": NOW + HOUR}
    add_window(connection, cluster, NEWEST - 4 * HOUR, "refused", fault="minutes", why=why, **later)
    drawn = run("hours").stdout.splitlines()
    assert drawn[0].split() == ["UTC", "00", "06", "12", "18"]
    assert drawn[1] == f"eu-1  2026-03-03{' ' * 12}!░■ ■□"
    assert drawn[-2:] == [
        "eu-1: 1 refused (minutes); 1 gap",
        "  → `hopsmeter hours eu-1` tells why, and the way out.",
    ]
    assert all(len(line) <= 80 for line in drawn)
    told = run("hours", "eu-1", "--days", "300").stdout
    assert "□ collected 1" in told
    assert told.splitlines()[-7:] == [
        "2026-03-03T09Z  refused (minutes)",
        "    [bold]minutes[/] are 61\N{REPLACEMENT CHARACTER}[31m",
        "  → `hopsmeter hours accept eu-1 2026-03-03T09Z --reason …` takes it as it is,",
        "    `gap` gives it up; it is asked again 2026-03-03 15:13Z.",
        "2026-03-03T10Z  gap",
        "  → Lost, and never counted as zero; `hopsmeter collect eu-1 --hour",
        "    2026-03-03T10Z` asks once more.",
    ]
    rows = list(csv.DictReader(io.StringIO(run("hours", "eu-1", "--csv").stdout)))
    assert [row["state"] for row in rows] == ["refused", "gap", "settled", "settled", "collected"]
    assert len(json.loads(run("hours", "--json").stdout)) == 5
    assert run("hours", "eu-9", exit_code=1).stderr.startswith("There is no cluster 'eu-9'")


def test_a_cluster_without_a_closed_hour_is_one_line(run: Run, database: Database) -> None:
    connection = database.connect()
    add_window(connection, add_cluster(connection), NEWEST, "collected")
    add_cluster(connection, "eu-10")
    drawn = run("hours").stdout.splitlines()
    assert [line for line in drawn if line.startswith("eu-10")] == ["eu-10  no hour is closed yet"]
    assert run("hours", "eu-10").stdout.splitlines()[1:2] == ["eu-10  no hour is closed yet"]


def test_a_map_of_a_few_days_says_what_it_leaves_out(run: Run, database: Database) -> None:
    connection = database.connect()
    cluster = add_cluster(connection)
    add_window(connection, cluster, NEWEST, "collected")
    assert run("hours", "eu-1").stdout.splitlines()[-1] == "□ collected 1"
    for back in (500, 499, 470):
        add_window(connection, cluster, NEWEST - HOUR * back, "failed", fault="no-data", why="no")
    add_window(connection, cluster, NEWEST - HOUR * 400, "gap")
    for arguments in (("hours",), ("hours", "eu-1")):
        assert run(*arguments).stdout.splitlines()[-2:] == [
            "eu-1: before these days, since 2026-02-10T17Z: 3 failed, 1 gap.",
            "  → `hopsmeter hours eu-1 --days 22` shows them, and why.",
        ]
    assert "before these days" not in run("hours", "eu-1", "--days", "22").stdout
    connection.execute(
        "UPDATE hopsmeter.hopsworks_clusters SET failures = 2, last_outcome = 'pod: none is ready',"
        " next_visit_at = %s",
        [NOW + HOUR],
    )
    again = f"asked again at {NOW + HOUR:%H:%M} UTC"
    assert f"eu-1 is left alone; {again}: pod: none is ready" in run("hours").stdout


def test_hours_in_the_same_trouble_are_told_together(run: Run, database: Database) -> None:
    connection = database.connect()
    cluster = add_cluster(connection)
    said = {"fault": "no-answer-exec", "why": "it was killed", "next_try_at": NOW}
    for back in (30, 29, 28, 12):
        add_window(connection, cluster, NEWEST - HOUR * back, "failed", **said)
    two = {"fault": "two-clusters", "why": "Two.", "next_try_at": NOW}
    add_window(connection, cluster, NEWEST - 4 * HOUR, "refused", **two)
    shrank = {
        "fault": "shrank",
        "why": "It fell.",
        "total_nano": 10**9,
        "pending_sha256": b"x" * 32,
    }
    add_window(connection, cluster, NEWEST - 3 * HOUR, "held", **shrank)
    add_window(
        connection, cluster, NEWEST - 2 * HOUR, "collected", **{**shrank, "fault": "minutes"}
    )
    add_window(connection, cluster, NEWEST, "collected", flags=["negative-cost"])
    told = run("hours", "eu-1").stdout.splitlines()
    heads = [line for line in told if line.startswith("2026-")]
    assert heads == [
        "2026-03-02T07Z to 2026-03-02T09Z (3 hours)  failed (no-answer-exec)",
        "2026-03-03T01Z  failed (no-answer-exec)",
        "2026-03-03T09Z  refused (two-clusters)",
        "2026-03-03T10Z  held (shrank)",
        "2026-03-03T11Z  collected, a later answer refused (minutes)",
        "2026-03-03T13Z  collected, flagged negative-cost",
    ]
    ways = " ".join("".join(told).split())
    assert "cluster check eu-1" in ways
    assert "It cannot be stored at all" in ways
    assert "The books hold 1.00 USD. `hopsmeter hours keep eu-1 2026-03-03T10Z" in ways
    assert all(len(line) <= 80 for line in told)
