"""Events are handled once: whatever order, whoever works, wherever somebody dies."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import Conflict
from core.identity.principal import SETUP, Principal
from core.webhooks.event import Event, Handler
from core.webhooks.handle import PAUSES_S, TRIES_MAX, Handled
from core.webhooks.replay import Chosen, replay
from core.webhooks.store import store
from tests.core.webhooks.effects import (
    KIND,
    SAYS,
    Outside,
    apply,
    away,
    delivery,
    fetch,
    handle,
    make_due,
    put,
)
from tests.database import Connection, Database
from tests.factories import NOW

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 30.0


def effects(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT event_id, subject, version FROM public.effects ORDER BY no"
    ).fetchall()


def state(connection: Connection, event_id: str = "evt_1") -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT state, tries, coalesce(said, ''), coalesce(error, ''), lease_token IS NULL"
        " FROM webhook_events WHERE event_id = %s",
        [event_id],
    ).fetchone()
    assert row is not None
    return row


def test_an_event_is_handled_once_and_says_what_it_came_to(
    connection: Connection, database: Database
) -> None:
    put(connection, "evt_1")
    assert handle(database) == {"done": 1}
    assert handle(database) == {}
    assert state(connection) == ("done", 1, "version 1", "", True)
    at = connection.execute("SELECT event_id, at FROM public.effects").fetchall()
    assert at == [("evt_1", NOW)]


def test_what_comes_again_while_it_is_done_is_not_done_again(
    connection: Connection, database: Database
) -> None:
    put(connection, "evt_1")
    handle(database)
    put(connection, "evt_1")
    assert handle(database) == {}
    assert len(effects(connection)) == 1


def test_a_failure_waits_longer_each_time_and_is_given_up_at_last(
    connection: Connection, database: Database
) -> None:
    put(connection, "evt_1")
    pauses: list[float] = []
    for _ in PAUSES_S:
        assert handle(database, Outside(faults=[away()])) == {"failed": 1}
        row = connection.execute(
            "SELECT extract(epoch FROM next_try_at - clock_timestamp())::float8 FROM webhook_events"
        ).fetchone()
        assert row is not None
        pauses.append(row[0])
        assert handle(database) == {}
        make_due(connection)
    assert all(abs(pause - given) < 5 for pause, given in zip(pauses, PAUSES_S, strict=True))
    assert sum(PAUSES_S) > 6 * 86_400
    told: list[Handled] = []
    assert handle(database, Outside(faults=[away()]), told=told) == {"given up": 1}
    why = "Stripe gave no answer in time."
    assert state(connection) == ("given up", TRIES_MAX, "", why, True)
    assert told[0].said == why
    make_due(connection)
    assert handle(database) == {}


def test_effects_of_a_try_that_breaks_are_rolled_back_and_the_others_go_on(
    connection: Connection, database: Database
) -> None:
    put(connection, "evt_1")
    put(connection, "evt_2", subject="cus_2")
    told: list[Handled] = []

    def broken(line: Any, fetched: int, event: Event, at: datetime) -> str:
        said = apply(line, fetched, event, at)
        if event.event_id == "evt_1":
            raise KeyError("hush")
        return said

    assert handle(database, handlers={KIND: Handler(fetch, broken)}, told=told) == {
        "done": 1,
        "failed": 1,
    }
    assert [row[0] for row in effects(connection)] == ["evt_2"]
    assert state(connection)[:2] == ("due", 1)
    assert "KeyError" in state(connection)[3]
    assert "broken" in next(each.bug for each in told if each.bug)
    assert "hush" not in str(told)


def test_an_event_without_a_handler_is_unknown(connection: Connection, database: Database) -> None:
    put(connection, "evt_1")
    assert handle(database, handlers={}) == {"unknown": 1}
    assert state(connection)[0] == "unknown"
    replay(connection, SETUP, Chosen(state="unknown"))
    assert handle(database) == {"done": 1}


def test_a_refusal_of_one_object_holds_up_no_other(
    connection: Connection, database: Database
) -> None:
    for number in range(40):
        put(connection, f"evt_{number}", subject=f"cus_{number}")
    assert handle(database, Outside(faults=[away()])) == {"failed": 1, "done": 39}


def test_workers_side_by_side_do_each_event_once_and_one_of_a_subject_at_a_time(
    connection: Connection, database: Database
) -> None:
    for number in range(120):
        put(connection, f"evt_{number}", subject=f"cus_{number % 5}")
    outside = Outside(fetch_s=0.002)
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda _: handle(database, outside), range(4)))
    while left := handle(database, outside):
        ends.append(left)
    assert sum(end.get("done", 0) for end in ends) == 120
    assert not any(set(end) - {"done"} for end in ends)
    done = effects(connection)
    assert len({row[0] for row in done}) == len(done) == 120
    for subject in range(5):
        versions = [row[2] for row in done if row[1] == f"cus_{subject}"]
        assert versions == sorted(versions), "something newer was overwritten by something older"


def test_whose_lease_ended_commits_nothing(connection: Connection, database: Database) -> None:
    put(connection, "evt_1")
    slow = Outside(fetch_s=0.4)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(handle, database, slow, lease_s=0.2)
        time.sleep(0.3)
        second = pool.submit(handle, database, Outside())
        assert (first.result(), second.result()) == ({"lost": 1}, {"done": 1})
    assert len(effects(connection)) == 1
    assert state(connection)[:2] == ("done", 2)


@pytest.mark.parametrize("where", ["fetch", "apply"])
def test_a_worker_killed_in_the_middle_leaves_the_event_to_the_next(
    connection: Connection, database: Database, where: str
) -> None:
    put(connection, "evt_1")
    command = [sys.executable, "-m", "tests.core.webhooks.effects", database.url, where, "1.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == SAYS
        assert handle(database) == {}, "it is another one's"
        worker.kill()
    deadline_s = time.monotonic() + LIMIT_S
    while not (ended := handle(database)):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert ended == {"done": 1}
    assert len(effects(connection)) == 1
    assert state(connection)[:2] == ("done", 2)


@pytest.mark.parametrize(
    "left", ["next_try_at = {}", "lease_token = gen_random_uuid(), lease_until = {}"]
)
@pytest.mark.parametrize("which", ["evt_1", "evt_2"])
def test_moments_that_a_clock_ahead_left_hold_up_nothing(
    connection: Connection, database: Database, left: str, which: str
) -> None:
    put(connection, "evt_1", "evt_2")
    moment = "clock_timestamp() + interval '300 days'"
    connection.execute(
        f"UPDATE webhook_events SET {left.format(moment)} WHERE event_id = %s".encode(), [which]
    )
    assert handle(database) == {"done": 2}


def test_a_replay_does_again_what_is_chosen_and_never_what_is_in_work(
    connection: Connection, database: Database
) -> None:
    put(connection, "evt_1", "evt_2")
    handle(database)
    assert replay(connection, SETUP, Chosen("evt_1")) == {"done": 1}
    assert state(connection)[:2] == ("due", 0)
    assert handle(database) == {"done": 1}
    assert [row[0] for row in effects(connection)] == ["evt_1", "evt_2", "evt_1"]
    assert replay(connection, SETUP, Chosen(type="invoice.*", since=None)) == {"done": 2}
    leased = "UPDATE webhook_events SET lease_until = clock_timestamp() + %s::interval"
    connection.execute(leased, ["4 min"])
    with pytest.raises(Conflict, match="in work"):
        replay(connection, SETUP, Chosen("evt_1"))
    connection.execute(leased, ["300 days"])  # by a clock that was ahead
    assert replay(connection, SETUP, Chosen("evt_1")) == {"due": 1}


def test_only_an_admin_replays(connection: Connection) -> None:
    put(connection, "evt_1")
    with pytest.raises(Exception, match="Only an admin may"):
        replay(connection, Principal("owner", "auth0|a"), Chosen("evt_1"))


def test_another_source_is_not_touched(connection: Connection, database: Database) -> None:
    store(connection, [delivery("log_1", source="auth0")])
    assert handle(database) == {}
