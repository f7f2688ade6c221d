"""Posts of the ledger: one by one beside pgbench's own TPC-B, many in one statement, and their size.

One post: its key looked for, the books locked, an entry, its lot or its draw, the balance; one
commit. TPC-B (scale 50): three updates, a look, an insert; one commit.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from core.billing.posting import enter
from core.billing.posting.enter import Turn, enter_changes
from core.db.binaries import find_binaries
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from core.db.queries import queries_beside

pytestmark = pytest.mark.bench

ACCOUNTS, SCALE, ROUNDS, SECONDS = 1_000, 50, 5, 2
CLIENTS = (4, 20)
SINGLE_MIN, BATCH_MIN = 1.0, 3.0
BYTES_MAX = 200
BATCHES = 20
DAY = date(2026, 3, 1)
_POSTING = queries_beside(enter.__file__)

GRANT = (
    "\\set account random(1, {accounts})\n\\set key random(1, 1000000000000)\n"
    "SELECT hopsmeter.add_credits(:account, 13::smallint, 1000, 'grant ' || :key, '2026-03-01',"
    " NULL, 50::smallint, NULL);\n"
)
DRAW = (
    "\\set account random(1, {accounts})\n\\set key random(1, 1000000000000)\n"
    "SELECT hopsmeter.take_credits(:account, 13::smallint, 1000, 'draw ' || :key, '2026-03-01',"
    " NULL, false, NULL, NULL);\n"
)

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder) / "postgres") as running:
        upgrade(running.url)
        with connect(running.url, name="bench") as connection:
            _accounts(connection)
        _pgbench(running.url, "-i", "-q", "-s", str(SCALE))
        yield running.url


def _accounts(connection: Connection) -> None:
    """Accounts with a lot that lasts, all of which pay by credits first."""
    connection.execute(
        "INSERT INTO hopsmeter.users (id, email, currency)"
        " SELECT 'bench|' || g, g || '@example.com', 'USD' FROM generate_series(1, %s) g",
        [ACCOUNTS],
    )
    connection.execute(
        "SELECT count(hopsmeter.add_credits(no, 13::smallint, 1000000000000, 'first', '2026-03-01',"
        " NULL, 100::smallint, NULL)) FROM hopsmeter.users"
    )
    connection.execute(
        "INSERT INTO hopsmeter.billing_modes (account_no, mode, valid, created_by)"
        " SELECT no, 'hybrid', '[2026-01-01,)', 'bench' FROM hopsmeter.users"
    )


def _pgbench(url: str, *arguments: str, script: str | None = None) -> str:
    where = conninfo_to_dict(url)
    program = find_binaries().folder / "pgbench"
    command = [str(program), "-h", str(where["host"]), "-p", str(where["port"]), "-n", *arguments]
    command += ["-U", str(where["user"])]
    with tempfile.TemporaryDirectory() as folder:
        if script is not None:
            path = Path(folder) / "post.sql"
            path.write_text(script)
            command += ["-f", str(path)]
        done = subprocess.run(
            [*command, str(where["dbname"])], capture_output=True, text=True, timeout=600
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _tps(url: str, clients: int, script: str | None) -> float:
    text = _pgbench(
        url,
        *("-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(SECONDS)),
        script=script,
    )
    assert "number of failed transactions: 0 " in text, text
    return float(text.split("tps = ")[1].split()[0])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def test_single_posts_keep_up_with_tpc_b(server: str) -> None:
    scripts = {
        "TPC-B": None,
        "grant": GRANT.format(accounts=ACCOUNTS),
        "draw": DRAW.format(accounts=ACCOUNTS),
    }
    _say("\n| single posts | clients | per s | ratio to TPC-B | bound |\n|---|---:|---:|---:|---:|")
    slow = []
    for clients in CLIENTS:
        rounds = [
            {name: _tps(server, clients, script) for name, script in scripts.items()}
            for _ in range(ROUNDS)
        ]
        for name in scripts:
            ratio = median(each[name] / each["TPC-B"] for each in rounds)
            rate = median(each[name] for each in rounds)
            _say(f"| {name} | {clients} | {rate:.0f} | {ratio:.2f} | {SINGLE_MIN:g} |")
            if ratio < SINGLE_MIN:
                slow.append(f"{name} with {clients} clients: {ratio:.2f}")
    assert not slow


def _batch(connection: Connection, number: int) -> int:
    """Charge every account once, in one statement, as a posting does."""
    with connection.transaction():
        connection.execute(_POSTING["changes"])
        connection.execute(
            "INSERT INTO hopsmeter_changes SELECT no, %s, 1000000, 'hybrid' FROM hopsmeter.users",
            [DAY],
        )
        return enter_changes(connection, Turn(DAY, DAY, number, DAY))


def test_batches_are_faster_and_entries_small(server: str) -> None:
    rounds = []
    with connect(server, name="bench") as connection:
        number = 1
        for _ in range(ROUNDS):
            single = _tps(server, CLIENTS[-1], DRAW.format(accounts=ACCOUNTS))
            began = perf_counter()
            entries = sum(_batch(connection, number + turn) for turn in range(BATCHES))
            rounds.append((single, entries / (perf_counter() - began)))
            number += BATCHES
        row = connection.execute(
            "SELECT pg_total_relation_size('hopsmeter.ledger_entries') / count(*)"
            " FROM hopsmeter.ledger_entries"
        ).fetchone()
    assert row is not None
    ratio = median(batch / single for single, batch in rounds)
    rate = median(batch for _, batch in rounds)
    _say(
        f"\nbatches of {ACCOUNTS}: {rate:.0f} entries/s, {ratio:.1f} × single draws (bound {BATCH_MIN:g})"
    )
    _say(f"{row[0]} bytes an entry, its indexes included (bound {BYTES_MAX})")
    assert ratio >= BATCH_MIN
    assert row[0] <= BYTES_MAX
