"""The webhook endpoint: verified and durable before the answer, one process, 32 connections.

Beside it, on the same server and in turn: pgbench with the same row, one insert a commit; and a bare
route that verifies nothing and inserts each request by itself. dj-stripe's view is in
`djstripe.py`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from core.db.binaries import find_binaries
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from tests.core.webhooks.sender import SECRET

pytestmark = pytest.mark.bench

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS, ROUNDS, SECONDS = 32, 7, 2
EVENTS = {"ours": 12_000, "bare": 3_000}
RATIO_MIN, P99_MAX_MS, P99_RATIO_MAX = 0.4, 25.0, 2.0
STEP_LIMIT_S = 120.0
ROW = (
    "INSERT INTO hopsmeter.webhook_events (source, event_id, type, subject, created_at, livemode,"
    " api_version, about, body_sha256) VALUES ('stripe', 'evt_' || gen_random_uuid(),"
    " 'invoice.paid', 'cus_1', now(), false, '2026-10-28.endive',"
    ' \'{"object": "in_1", "object_type": "invoice", "customer": "cus_1", "invoice": "in_1"}\','
    " '\\x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f')"
    " ON CONFLICT (source, event_id) DO NOTHING;\n"
)
"""What the endpoint stores of an event, by hand: the floor commits each by itself."""


@dataclass(frozen=True)
class Place:
    url: str
    folder: Path

    @property
    def secrets(self) -> Path:
        return self.folder / "signing"


@contextmanager
def placed() -> Iterator[Place]:
    """Lend a durable server with our schema, and the secret that the requests are signed with."""
    with tempfile.TemporaryDirectory() as name, start(Path(name) / "postgres") as running:
        upgrade(running.url)
        place = Place(running.url, Path(name))
        place.secrets.write_text(f"{SECRET}\n")
        place.secrets.chmod(0o400)
        (place.folder / "row.sql").write_text(ROW)
        yield place


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with placed() as found:
        yield found


def floor_per_s(place: Place) -> float:
    """Return the commits a second of pgbench with the same row."""
    where = conninfo_to_dict(place.url)
    command = [str(find_binaries().folder / "pgbench"), "-n", "-M", "prepared", "-j", "2"]
    command += ["-c", str(CONNECTIONS), "-T", str(SECONDS), "-f", str(place.folder / "row.sql")]
    command += ["-h", str(where["host"]), "-p", str(where["port"]), "-U", str(where["user"])]
    text = _run([*command, str(where["dbname"])])
    assert "number of failed transactions: 0 " in text, text
    return float(text.split("tps = ")[1].split()[0])


def pressed(place: Place, kind: str, turn: int) -> dict[str, Any]:
    """Serve, press, and return what came of it; each event is new, and each must be stored."""
    before = _events(place)
    with serving(place, kind) as (host, port):
        found = press(host, port, "/webhooks/stripe", EVENTS[kind], f"{kind}{turn}x")
    assert found["statuses"] == {"204": EVENTS[kind]}
    if kind == "ours":
        assert _events(place) - before == EVENTS[kind]
    return found


def press(host: str, port: str, path: str, events: int, prefix: str) -> dict[str, Any]:
    """Let a process of its own press an endpoint; return what it says."""
    words = [host, port, path, str(CONNECTIONS), str(events), prefix]
    text = _run([sys.executable, "-m", "tests.bench.presser", *words])
    found: dict[str, Any] = json.loads(text)
    return found


@contextmanager
def serving(place: Place, kind: str) -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "tests.bench.endpoints", kind, place.url, str(place.secrets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        host, _, port = server.stdout.readline().strip().partition(":")
        try:
            yield host, port
        finally:
            server.terminate()


def _events(place: Place) -> int:
    with connect(place.url, name="bench") as connection:
        row = connection.execute("SELECT count(*) FROM hopsmeter.webhook_events").fetchone()
    assert row is not None
    return int(row[0])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_LIMIT_S, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def test_the_endpoint_keeps_up_with_single_commits(place: Place) -> None:
    rounds = []
    for turn in range(ROUNDS):
        floor = floor_per_s(place)
        rounds.append((floor, pressed(place, "ours", turn), pressed(place, "bare", turn)))
    floors = [each for each, _, _ in rounds]
    ratios = [ours["per_s"] / floor for floor, ours, _ in rounds]
    tails = [ours["p99_ms"] / bare["p99_ms"] for _, ours, bare in rounds]
    tail_ms = median(ours["p99_ms"] for _, ours, _ in rounds)
    _say(f"\nwebhooks, {CONNECTIONS} connections (medians of {ROUNDS} rounds)\n")
    _say("| way | per s | ratio | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|")
    _say(f"| pgbench, the same row | {median(floors):.0f} | 1 | | |")
    for at, name in ((1, "the endpoint"), (2, "a bare route, unverified")):
        figures: list[dict[str, float]] = [each[at] for each in rounds]  # type: ignore[misc]  # a tuple of three kinds, by place
        per_s = median(one["per_s"] for one in figures)
        ratio = median(one["per_s"] / floor for one, floor in zip(figures, floors, strict=True))
        p50, p99 = (median(one[key] for one in figures) for key in ("p50_ms", "p99_ms"))
        _say(f"| {name} | {per_s:.0f} | {ratio:.2f} | {p50:.1f} | {p99:.1f} |")
    _say(f"ratio {min(ratios):.2f} … {max(ratios):.2f} (bound {RATIO_MIN:g})")
    _say(
        f"p99 {median(tails):.2f} × of the bare route (bound {P99_MAX_MS:g} ms, or {P99_RATIO_MAX:g} ×)"
    )
    assert median(ratios) >= RATIO_MIN
    assert tail_ms <= P99_MAX_MS or median(tails) <= P99_RATIO_MAX
